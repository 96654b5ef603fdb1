"""Text models over an engine that pools by itself, such as vLLM's pooling runner.

Tokenizing, prompts and activations are here, as with the other backends; the engine gets token ids.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from transformers import AutoConfig, AutoTokenizer

from schemas.settings.models import (
    ClassifierSettings,
    EmbedderSettings,
    RerankerSettings,
    Similarity,
    TextModelSettings,
)
from serve_models.text.endpoints.probabilities import Activation, activation_of, apply_activation
from serve_models.text.models.base import ModelSettingsError, Rows
from serve_models.text.models.checkpoint_json import read_object
from serve_models.text.models.classification import labels_of
from serve_models.text.models.embedding import prompts_of
from serve_models.text.models.prompts import Role
from serve_models.text.models.tokenizing import (
    TokenizedText,
    take_token_ids,
    text_tokenizer_of,
)


class PoolingEngine(Protocol):
    """Runs token ids to rows, with batches of its own.

    Attributes:
        max_tokens: The longest text that it takes.
        vocabulary_tokens: Token ids are below this.
    """

    max_tokens: int
    vocabulary_tokens: int

    def rows(self, texts: Sequence[TokenizedText]) -> Rows:
        """Return the row of each text, float32 [texts, width]; blocks the calling thread.

        For embedders rows are vectors, else logits without an activation.
        """
        ...

    def shut_down(self) -> None: ...


class _Pooled:
    """What the models have in common (``TextModel``)."""

    runs_in_parallel = True

    def __init__(self, path: Path, settings: TextModelSettings, engine: PoolingEngine) -> None:
        self._engine = engine
        self._library_tokenizer: Any = AutoTokenizer.from_pretrained(
            path, local_files_only=True, trust_remote_code=settings.trust_remote_code
        )
        self.max_seq_length_tokens: int | None = engine.max_tokens
        self._tokenizer = text_tokenizer_of(self._library_tokenizer, engine.max_tokens)
        self._check_probe()

    def run(self, texts: Sequence[TokenizedText]) -> Rows:
        return self._engine.rows(texts)

    def probe(self) -> TokenizedText:
        return self._tokenizer.encode(["probe"])[0]

    def shut_down(self) -> None:
        self._engine.shut_down()

    def _check_probe(self) -> None:
        """A model that cannot run must not start."""
        row = self.run([self.probe()])[0]
        if not np.isfinite(row).all():
            raise ModelSettingsError(
                "backend: vllm gives NaN or infinity for a harmless text; set dtype to bfloat16 or "
                "float32, or backend to torch"
            )
        self.sample: NDArray[np.float32] = row
        self.width = len(row)


class PooledEmbedder(_Pooled):
    """An embedder over a pooling engine (``EmbeddingTextModel``)."""

    takes_images = False

    def __init__(self, path: Path, settings: EmbedderSettings, engine: PoolingEngine) -> None:
        super().__init__(path, settings, engine)
        self._config = read_object(path / "config_sentence_transformers.json")
        self.similarity: Similarity = (
            settings.similarity or self._config.get("similarity_fn_name") or "cosine"
        )
        self.vocabulary_tokens = engine.vocabulary_tokens
        self._special_ids = frozenset(self._library_tokenizer.all_special_ids)
        self.take_prompts(settings)

    def take_prompts(self, settings: EmbedderSettings) -> None:
        """Use the settings' prompts over the checkpoint's.

        Raises ``ModelSettingsError`` if there is no prompt of the default's name.
        """
        # As the library does for checkpoints without prompts.
        checkpoint = {"query": "", "document": "", **self._config.get("prompts", {})}
        self.prompts = prompts_of(checkpoint, self._config.get("default_prompt_name"), settings)

    def tokenize(
        self, texts: Sequence[str], prompt_names: Sequence[str | None]
    ) -> list[TokenizedText]:
        return self._encode_with(self.prompts.for_names(prompt_names), texts)

    def tokenize_roles(self, texts: Sequence[str], roles: Sequence[Role]) -> list[TokenizedText]:
        return self._encode_with(self.prompts.for_roles(roles), texts)

    def _encode_with(self, prompts: Sequence[str], texts: Sequence[str]) -> list[TokenizedText]:
        pairs = zip(prompts, texts, strict=True)
        return self._tokenizer.encode([prompt + text for prompt, text in pairs])

    def take_token_ids(self, ids: Sequence[Sequence[int]]) -> list[TokenizedText]:
        longest = self.max_seq_length_tokens
        return [take_token_ids(each, longest, self._special_ids) for each in ids]

    def take_images(
        self,
        images: Sequence[bytes],  # noqa: ARG002 -- it takes none
        prompt_names: Sequence[str | None],  # noqa: ARG002 -- likewise
    ) -> list[TokenizedText]:
        raise TypeError("the model takes no images")


class PooledClassifier(_Pooled):
    """A classifier over a pooling engine (``LabellingModel``)."""

    def __init__(self, path: Path, settings: ClassifierSettings, engine: PoolingEngine) -> None:
        super().__init__(path, settings, engine)
        config = AutoConfig.from_pretrained(
            path, local_files_only=True, trust_remote_code=settings.trust_remote_code
        )
        self.labels: Sequence[str] = labels_of(config)
        self.activation = activation_of(config.problem_type, self.width)

    def tokenize(self, texts: Sequence[str]) -> list[TokenizedText]:
        return self._tokenizer.encode(texts)


class PooledReranker(_Pooled):
    """A reranker over a pooling engine (``PairModel``)."""

    def __init__(self, path: Path, settings: RerankerSettings, engine: PoolingEngine) -> None:
        super().__init__(path, settings, engine)
        if self.width != 1:
            raise ModelSettingsError(
                f"source: the checkpoint gives {self.width} labels for a pair, and a reranker "
                "needs one score; take one that was trained to rank, or kind: classifier for "
                "labels of single texts"
            )
        config = read_object(path / "config.json")
        library = read_object(path / "config_sentence_transformers.json")
        # Where the library looks for it, in this order: earlier releases wrote it elsewhere.
        named = (
            library.get("activation_fn")
            or (config.get("sentence_transformers") or {}).get("activation_fn")
            or config.get("sbert_ce_default_activation_function")
            or "Sigmoid"
        )
        activation = str(named).rpartition(".")[2]
        if activation not in {"Sigmoid", "Identity"}:
            raise ModelSettingsError(
                f"backend: vllm does not go with the checkpoint's activation {named}; set backend "
                "to torch"
            )
        is_sigmoid = activation == "Sigmoid"
        self._activation = Activation.SIGMOID if is_sigmoid else Activation.IDENTITY
        prompts = library.get("prompts") or {}
        self._prompt = prompts.get(library.get("default_prompt_name")) or ""

    def tokenize_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[TokenizedText]:
        return self._tokenizer.encode(
            [(self._prompt + query, document) for query, document in pairs]
        )

    def activate(self, outputs: Rows) -> Rows:
        """Turn raw outputs, float32 [pairs, 1], into scores of the same shape."""
        return apply_activation(outputs, self._activation)


def pooled_model(path: Path, settings: TextModelSettings, engine: PoolingEngine) -> Any:
    """Return the model of the settings' kind over an engine that has loaded ``path``."""
    match settings:
        case EmbedderSettings():
            return PooledEmbedder(path, settings, engine)
        case ClassifierSettings():
            return PooledClassifier(path, settings, engine)
        case RerankerSettings():
            return PooledReranker(path, settings, engine)
        case _:
            raise TypeError(f"no text model: {type(settings).__name__}")
