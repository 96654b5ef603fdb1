"""An embedder without its weights: what its endpoints ask of it, in a process without torch."""

from collections.abc import Sequence

from serve_models.text.endpoints.base import Endpoints, Served
from serve_models.text.endpoints.embedder import embedder_endpoints
from serve_models.text.front.spec import FrontSpec
from serve_models.text.models.prompts import Prompts, Role
from serve_models.text.models.tokenizing import TokenizedText


class FrontModel:
    """The part of ``EmbeddingTextModel`` that reads requests and writes answers."""

    runs_in_parallel = True
    takes_images = False

    def __init__(self, spec: FrontSpec) -> None:
        self._texts = spec.prompted_tokenizer()
        self.width = len(spec.sample)
        self.sample = spec.sample
        self.similarity = spec.similarity
        self.max_seq_length_tokens = spec.max_seq_length_tokens
        self.vocabulary_tokens = spec.vocabulary_tokens
        self.prompts = Prompts(
            spec.checkpoint_prompts, spec.settings.prompts, spec.default_prompt_name
        )

    def tokenize(
        self, texts: Sequence[str], prompt_names: Sequence[str | None]
    ) -> list[TokenizedText]:
        return self._texts.tokenize(texts, self.prompts.for_names(prompt_names))

    def tokenize_roles(self, texts: Sequence[str], roles: Sequence[Role]) -> list[TokenizedText]:
        return self._texts.tokenize(texts, self.prompts.for_roles(roles))

    def take_token_ids(self, ids: Sequence[Sequence[int]]) -> list[TokenizedText]:
        return self._texts.take_token_ids(ids)

    def take_images(
        self,
        images: Sequence[bytes],  # noqa: ARG002 -- it takes none
        prompt_names: Sequence[str | None],  # noqa: ARG002 -- likewise
    ) -> list[TokenizedText]:
        raise TypeError("the model takes no images")


def front_endpoints(spec: FrontSpec) -> Endpoints:
    """Return the endpoints of the model that ``spec`` describes."""
    served = Served.of(spec.name, spec.settings)
    return Endpoints(spec.name, embedder_endpoints(FrontModel(spec), served, spec.settings))
