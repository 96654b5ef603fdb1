"""The protocol of text models, and the checks of their output."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from handoff.chunk import STATUS_UNRECOVERABLE
from serve_models.chunks.failures import Refusal, encode_failure_body
from serve_models.text.models.tokenizing import TokenizedText

Rows = NDArray[np.float32]
Row = NDArray[Any]
"""One text's: float32 [width], or another kind of model's own form."""

_NOT_A_NUMBER = Refusal(
    STATUS_UNRECOVERABLE, encode_failure_body("the model's output holds NaN or infinity")
)


class ModelSettingsError(ValueError):
    """A model's settings do not fit its checkpoint; the message names the setting and the fix."""


class TextModel(Protocol):
    """Runs batches of tokenized texts.

    Attributes:
        width: Components of a text's row.
        runs_in_parallel: Whether several threads may call ``run`` at a time, beside one that
            tokenizes. Otherwise one thread calls it, beside that one.
        max_seq_length_tokens: A longer text is truncated; ``None`` where there is no limit.
    """

    width: int
    runs_in_parallel: bool
    max_seq_length_tokens: int | None

    def probe(self) -> TokenizedText:
        """Tokenize a harmless text, to check whether the model works at all."""
        ...

    def run(self, texts: Sequence[TokenizedText]) -> Rows | list[Row]:
        """Run one batch and return float32 [len(texts), width].

        A model whose rows differ in length returns a list of them, one for each text.
        """
        ...


class CheckedModel:
    """A text model as the batch engine runs it, with its output checked."""

    def __init__(self, model: TextModel) -> None:
        self._model = model

    def probe(self) -> TokenizedText:
        return self._model.probe()

    def run(self, texts: Sequence[TokenizedText]) -> list[Row | Refusal]:
        """Run one batch; each text gets its row, or the reason for none.

        Raises ``ValueError`` if the model's output has the wrong shape.
        """
        rows = self._model.run(texts)
        if isinstance(rows, list):
            if len(rows) != len(texts):
                raise ValueError(f"the model has {len(rows)} rows for {len(texts)} texts")
            return [row if _is_finite(row) else _NOT_A_NUMBER for row in rows]
        if rows.shape != (len(texts), self._model.width):
            raise ValueError(
                f"the model's output is of shape {rows.shape} for {len(texts)} texts "
                f"and a width of {self._model.width}"
            )
        finite = np.all(np.isfinite(rows), axis=1)
        return [
            row if is_finite else _NOT_A_NUMBER for row, is_finite in zip(rows, finite, strict=True)
        ]


def _is_finite(row: Row) -> bool:
    if row.dtype.names is not None:
        return all(bool(np.isfinite(row[name]).all()) for name in row.dtype.names)
    return bool(np.isfinite(row).all())


def check_length(max_seq_length_tokens: int, positions: int | None) -> None:
    """Raise ``ModelSettingsError`` for a length over the checkpoint's ``positions``."""
    if positions is not None and 0 < positions < max_seq_length_tokens:
        raise ModelSettingsError(
            f"max_seq_length_tokens: {max_seq_length_tokens} is over the {positions} positions "
            "that the checkpoint has; set at most that"
        )
