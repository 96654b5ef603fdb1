"""A Sentence Transformers checkpoint, run batch by batch. Knows nothing of Ray or requests."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from schemas.model_settings import EmbedderSettings
from serve_models.front_ends import front_end_of
from serve_models.library_models import run_batch, shorten
from serve_models.rotary import runs_in_parallel
from serve_models.text_model import ModelSettingsError, Rows, TextModel
from serve_models.tokenizing import TokenizedText, limit_of

Role = Literal["query", "document"]
"""What a text is in a search."""

_PROMPT_NAMES: Mapping[Role, tuple[str, ...]] = {
    "query": ("query",),
    "document": ("document", "passage", "corpus"),
}
"""As ``encode_query`` and ``encode_document`` of Sentence Transformers look for them."""


class EmbeddingTextModel(TextModel, Protocol):
    """What the embedder's endpoints need of a model. Its rows are vectors."""

    @property
    def sample(self) -> NDArray[np.float32]:
        """The vector of a harmless text, float32 [width]."""
        ...

    @property
    def prompts(self) -> Mapping[str, str]:
        """Prompts by the name that a request may give."""
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


class EmbeddingModel:
    """A loaded Sentence Transformers model.

    ``run`` may be called in several threads at a time where ``runs_in_parallel``, else in one,
    beside ``tokenize`` in one.

    Args:
        path: The checkpoint's directory, as ``serve_models.sources.resolve`` returns it.
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
        self._sample: NDArray[np.float32] = self.run([self.probe()])[0]

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
    def prompts(self) -> Mapping[str, str]:
        """The checkpoint's prompts by name, and over them the settings'."""
        return self._prompts

    @property
    def max_seq_length_tokens(self) -> int | None:
        """Tokens beyond which a text is truncated; ``None`` where there is no limit."""
        return limit_of(self._model.max_seq_length)

    def tokenize(
        self, texts: Sequence[str], prompt_names: Sequence[str | None]
    ) -> list[TokenizedText]:
        """Tokenize each text behind the prompt of its name; ``None`` is the default prompt.

        Raises:
            KeyError: There is no prompt of that name.
        """
        names = [name or self._default_prompt_name for name in prompt_names]
        return self._front_end.tokenize(texts, self._prompts_of(names), names)

    def tokenize_roles(self, texts: Sequence[str], roles: Sequence[Role]) -> list[TokenizedText]:
        """Tokenize each text as ``encode_query`` and ``encode_document`` would.

        Each goes behind the prompt of its role, or the default prompt where there is none.
        """
        names = {role: self._prompt_name_of(role) for role in _PROMPT_NAMES}
        return self._front_end.tokenize(
            texts, self._prompts_of([names[role] for role in roles]), roles
        )

    def probe(self) -> TokenizedText:
        """Tokenize a harmless text."""
        return self.tokenize(["probe"], [None])[0]

    def run(self, texts: Sequence[TokenizedText]) -> Rows:
        """Run one batch.

        Returns:
            float32 [len(texts), width], as ``SentenceTransformer.encode`` would give them.
        """
        return run_batch(self._model, self._front_end, texts, "sentence_embedding")

    def _prompts_of(self, names: Sequence[str | None]) -> list[str]:
        return ["" if name is None else self._prompts[name] for name in names]

    def _prompt_name_of(self, role: Role) -> str | None:
        known = (name for name in _PROMPT_NAMES[role] if name in self._prompts)
        return next(known, self._default_prompt_name)
