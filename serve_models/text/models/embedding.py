"""A Sentence Transformers checkpoint, run batch by batch. Knows nothing of Ray or requests."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from schemas.settings.models import EmbedderSettings, Similarity
from serve_models.text.models.base import ModelSettingsError, Rows, TextModel
from serve_models.text.models.positions import check_runs, longest_text
from serve_models.text.models.preprocessing import FastFrontEnd, front_end_of
from serve_models.text.models.prompts import Prompts, Role, role_of
from serve_models.text.models.thread_safety import runs_in_parallel
from serve_models.text.models.tokenizing import TokenizedText, limit_of
from serve_models.text.models.torch_batches import run_batch, shorten

logger = logging.getLogger(__name__)


class EmbeddingTextModel(TextModel, Protocol):
    """What the embedder's endpoints need of a model. Its rows are vectors."""

    @property
    def sample(self) -> NDArray[np.float32]:
        """The vector of a harmless text, float32 [width]."""
        ...

    @property
    def prompts(self) -> Prompts:
        """Prompts by the names that a request may give."""
        ...

    @property
    def similarity(self) -> Similarity:
        """What its vectors are to be compared by."""
        ...

    @property
    def vocabulary_tokens(self) -> int:
        """Token ids are below this; 0 where the model takes none."""
        ...

    @property
    def max_seq_length_tokens(self) -> int | None:
        """Tokens beyond which a text is truncated; ``None`` where there is no limit."""
        ...

    def tokenize(
        self, texts: Sequence[str], prompt_names: Sequence[str | None]
    ) -> list[TokenizedText]:
        """Tokenize each text behind the prompt of its name; ``None`` is the default prompt."""
        ...

    def tokenize_roles(self, texts: Sequence[str], roles: Sequence[Role]) -> list[TokenizedText]:
        """Tokenize each text behind the prompt for queries or that for documents."""
        ...

    def take_token_ids(self, ids: Sequence[Sequence[int]]) -> list[TokenizedText]:
        """Take texts that are tokenized already, each as it is, but for its length."""
        ...


class EmbeddingModel:
    """A loaded Sentence Transformers model.

    ``run`` may be called in several threads at a time where ``runs_in_parallel``, else in one,
    beside ``tokenize`` in one.

    Args:
        path: The checkpoint's directory, as ``serve_models.weights.sources.resolve`` returns it.
        settings: Dtype, length and prompts.
        device: Where it runs, as ``choose_device`` returns it.

    Raises:
        ModelSettingsError: A setting does not fit the checkpoint.
    """

    def __init__(self, path: Path, settings: EmbedderSettings, device: str) -> None:
        self._model = SentenceTransformer(
            str(path),
            device=device,
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"dtype": getattr(torch, settings.dtype), "use_safetensors": True},
        ).eval()
        shorten(self._model, settings.max_seq_length_tokens)
        self._similarity = settings.similarity or self._model.similarity_fn_name
        if self._similarity != "cosine" and "normalize" not in settings.model_fields_set:
            logger.warning(
                "vectors are compared by %s, and /v1/embeddings scales them to length 1: set "
                "normalize to false to get them as they are, or to true to say that this is meant",
                self._similarity,
            )
        self._prompts = _prompts_of(self._model, settings)
        self._front_end = front_end_of(self._model)
        if settings.accept_token_ids and not self.vocabulary_tokens:
            raise ModelSettingsError(
                "accept_token_ids: the checkpoint takes texts only (it is no plain transformer "
                "with a fast tokenizer); set it to false"
            )
        # The first forward pays for lazy initialisation; a model that cannot run must not start.
        self._sample: NDArray[np.float32] = self.run([self.probe()])[0]
        longest = longest_text(self.max_seq_length_tokens, device)
        check_runs(self.run, self.tokenize([longest], [None])[0])

    @property
    def width(self) -> int:
        """Components of a vector."""
        return len(self._sample)

    @property
    def sample(self) -> NDArray[np.float32]:
        """The vector of a harmless text, float32 [width]."""
        return self._sample

    @property
    def runs_in_parallel(self) -> bool:
        """Whether ``run`` may be called in several threads at a time."""
        return runs_in_parallel(self._model)

    @property
    def prompts(self) -> Prompts:
        """The checkpoint's prompts, and over them the settings'."""
        return self._prompts

    @property
    def similarity(self) -> Similarity:
        """The settings' measure, or the checkpoint's."""
        return self._similarity

    @property
    def vocabulary_tokens(self) -> int:
        """Token ids are below this; 0 where the model takes none."""
        if not isinstance(self._front_end, FastFrontEnd):
            return 0
        embeddings = self._front_end.transformer.auto_model.get_input_embeddings()
        return embeddings.num_embeddings if isinstance(embeddings, torch.nn.Embedding) else 0

    @property
    def max_seq_length_tokens(self) -> int | None:
        """Tokens beyond which a text is truncated; ``None`` where there is no limit."""
        return limit_of(self._model.max_seq_length)

    def tokenize(
        self, texts: Sequence[str], prompt_names: Sequence[str | None]
    ) -> list[TokenizedText]:
        """Tokenize each text behind the prompt of its name; ``None`` is the default prompt.

        So is a name that there is no prompt for.
        """
        prompts = {name: self._prompts.find_or_default(name) for name in set(prompt_names)}
        return self._front_end.tokenize(
            texts,
            [prompts[name] for name in prompt_names],
            [role_of(name or self._prompts.default_name) for name in prompt_names],
        )

    def tokenize_roles(self, texts: Sequence[str], roles: Sequence[Role]) -> list[TokenizedText]:
        """Tokenize each text as ``encode_query`` and ``encode_document`` would.

        Each goes behind the prompt of its role, or the default prompt where there is none.
        """
        prompts = {role: self._prompts.of_role(role) for role in set(roles)}
        return self._front_end.tokenize(texts, [prompts[role] for role in roles], roles)

    def take_token_ids(self, ids: Sequence[Sequence[int]]) -> list[TokenizedText]:
        """Take texts that are tokenized already, each as it is, but for its length.

        Raises:
            TypeError: The model takes texts only.
        """
        if not isinstance(self._front_end, FastFrontEnd):
            raise TypeError("the model takes texts only")
        return self._front_end.take_token_ids(ids)

    def probe(self) -> TokenizedText:
        """Tokenize a harmless text."""
        return self.tokenize(["probe"], [None])[0]

    def run(self, texts: Sequence[TokenizedText]) -> Rows:
        """Run one batch.

        Returns:
            float32 [len(texts), width], as ``SentenceTransformer.encode`` would give them.
        """
        return run_batch(self._model, self._front_end, texts, "sentence_embedding")


def _prompts_of(model: SentenceTransformer, settings: EmbedderSettings) -> Prompts:
    checkpoint = {name: prompt or "" for name, prompt in model.prompts.items()}
    default_name = settings.default_prompt_name or model.default_prompt_name
    known = {**checkpoint, **settings.prompts}
    if default_name is not None and default_name not in known:
        raise ModelSettingsError(
            f"default_prompt_name: no prompt '{default_name}'; "
            f"prompts has: {', '.join(sorted(known)) or 'none'}"
        )
    return Prompts(checkpoint, settings.prompts, default_name)
