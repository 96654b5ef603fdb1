"""A Sentence Transformers checkpoint, run batch by batch. Knows nothing of Ray or requests."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import batch_to_device

from schemas.settings import EmbedderSettings
from serve_models.tokenizing import TokenizedText, front_end_of

_UNLIMITED_TOKENS = 1_000_000


class ModelSettingsError(ValueError):
    """A model's settings do not fit its checkpoint; names the setting and the fix."""


class TextModel(Protocol):
    """What the embedding engine needs of a model."""

    @property
    def dims(self) -> int:
        """Components of a vector."""
        ...

    @property
    def prompts(self) -> Mapping[str, str]:
        """Prompts by the name that a request may give."""
        ...

    @property
    def default_prompt_name(self) -> str | None:
        """The prompt for requests that name none."""
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

    def embed(self, texts: Sequence[TokenizedText]) -> NDArray[np.float32]:
        """Run one batch and return float32 [len(texts), dims]."""
        ...


class EmbeddingModel:
    """A loaded Sentence Transformers model.

    ``embed`` may run in several threads at a time, beside ``tokenize`` in one.

    Args:
        path: The checkpoint's directory, as ``serve_models.sources.resolve`` returns it.
        settings: Dtype, length and prompts.
        device: Where it runs, as ``choose_device`` returns it.

    Raises:
        ModelSettingsError: A setting does not fit the checkpoint.
    """

    def __init__(self, path: Path, settings: EmbedderSettings, device: str) -> None:
        self._device = torch.device(device)
        self._model = SentenceTransformer(
            str(path),
            device=str(self._device),
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"dtype": getattr(torch, settings.dtype), "use_safetensors": True},
        ).eval()
        if settings.max_seq_length_tokens is not None:
            self._shorten(settings.max_seq_length_tokens)
        checkpoint_prompts = {name: prompt or "" for name, prompt in self._model.prompts.items()}
        self._prompts = {**checkpoint_prompts, **settings.prompts}
        self._default_prompt_name = settings.default_prompt_name or self._model.default_prompt_name
        if self._default_prompt_name is not None and self._default_prompt_name not in self._prompts:
            raise ModelSettingsError(
                f"default_prompt_name: no prompt '{self._default_prompt_name}'; "
                f"prompts has: {', '.join(sorted(self._prompts)) or 'none'}"
            )
        self._front_end = front_end_of(self._model)
        # The first forward pays for lazy initialisation; a model that cannot run must not start.
        self._dims = int(self.embed(self.tokenize(["warm up"], [None])).shape[1])

    @property
    def dims(self) -> int:
        """Components of a vector."""
        return self._dims

    @property
    def prompts(self) -> Mapping[str, str]:
        """The checkpoint's prompts by name, and over them the settings'."""
        return self._prompts

    @property
    def default_prompt_name(self) -> str | None:
        """The settings' default prompt, or else the checkpoint's."""
        return self._default_prompt_name

    @property
    def max_seq_length_tokens(self) -> int | None:
        """Tokens beyond which a text is truncated; ``None`` where there is no limit."""
        limit = self._model.max_seq_length
        return None if limit is None or limit >= _UNLIMITED_TOKENS else int(limit)

    def tokenize(
        self, texts: Sequence[str], prompt_names: Sequence[str | None]
    ) -> list[TokenizedText]:
        """Tokenize each text behind the prompt of its name; ``None`` is the default prompt.

        Raises:
            KeyError: There is no prompt of that name.
        """
        names = [name or self._default_prompt_name for name in prompt_names]
        prompts = ["" if name is None else self._prompts[name] for name in names]
        return self._front_end.tokenize(texts, prompts, names)

    @torch.inference_mode()
    def embed(self, texts: Sequence[TokenizedText]) -> NDArray[np.float32]:
        """Run one batch.

        Returns:
            float32 [len(texts), dims], as ``SentenceTransformer.encode`` would give them.
        """
        rows: NDArray[np.float32] | None = None
        for positions, features in self._front_end.batches(texts):
            output = self._model(batch_to_device(features, self._device))["sentence_embedding"]
            vectors: NDArray[np.float32] = output.float().cpu().numpy()
            if len(positions) == len(texts):
                return vectors
            if rows is None:
                rows = np.empty((len(texts), vectors.shape[1]), dtype=np.float32)
            rows[positions] = vectors
        if rows is None:
            raise ValueError("texts: a batch holds at least one text")
        return rows

    def _shorten(self, max_seq_length_tokens: int) -> None:
        positions = getattr(self._model.config, "max_position_embeddings", None)
        if positions is not None and max_seq_length_tokens > positions:
            raise ModelSettingsError(
                f"max_seq_length_tokens: {max_seq_length_tokens} is over the {positions} positions "
                "that the checkpoint has; set at most that"
            )
        self._model.max_seq_length = max_seq_length_tokens


def choose_device(device: str) -> str:
    """Return torch's name of the device that the settings name; ``auto`` is the best one here."""
    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def use_threads(threads: int) -> None:
    """Let what the calling thread runs use ``threads`` CPU threads; other threads keep theirs."""
    # torch sets up each thread at its first operation, with the number last set by any thread;
    # asking for the number is enough of an operation, and must come before ours is set.
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
