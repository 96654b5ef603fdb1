"""What the text engine needs of a model."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serve_models.text.models.tokenizing import TokenizedText

Rows = NDArray[np.float32]


class ModelSettingsError(ValueError):
    """A model's settings do not fit its checkpoint; names the setting and the fix."""


class TextModel(Protocol):
    """Runs batches of tokenized texts.

    ``run`` may be called in several threads at a time where ``runs_in_parallel``, else in one,
    beside tokenizing in one.
    """

    @property
    def width(self) -> int:
        """Components of a text's row."""
        ...

    @property
    def runs_in_parallel(self) -> bool:
        """Whether ``run`` may be called in several threads at a time."""
        ...

    def probe(self) -> TokenizedText:
        """Tokenize something harmless, to see whether the model works at all."""
        ...

    def run(self, texts: Sequence[TokenizedText]) -> Rows:
        """Run one batch and return float32 [len(texts), width]."""
        ...


def check_length(max_seq_length_tokens: int, positions: int | None) -> None:
    """Refuse a length that a checkpoint has no positions for.

    Raises:
        ModelSettingsError: It is over ``positions``.
    """
    if positions is not None and 0 < positions < max_seq_length_tokens:
        raise ModelSettingsError(
            f"max_seq_length_tokens: {max_seq_length_tokens} is over the {positions} positions "
            "that the checkpoint has; set at most that"
        )
