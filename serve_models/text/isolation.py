"""A batch that fails, taken apart until only the texts at fault are without a row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from serve_models.serving.failures import (
    ENDS_THE_TASK,
    Refusal,
    encode_failure_body,
    status_of_failure,
)
from serve_models.text.models.base import Rows
from serve_models.text.models.devices import is_out_of_memory, release_memory
from serve_models.text.models.tokenizing import TokenizedText

Row = NDArray[np.float32]
Forward = Callable[[Sequence[TokenizedText]], Rows]


@dataclass(slots=True)
class Isolated:
    """What came of a batch.

    Attributes:
        rows: For each text its row, float32 [width], or what it met alone.
        raised: Whether some text failed alone by an error, and not only by what was in its row.
        too_large_tokens: Of each part of several texts that was out of memory, what it cost:
            texts times the longest.
    """

    rows: list[Row | Refusal]
    raised: bool = False
    too_large_tokens: list[int] = field(default_factory=list)

    @property
    def has_only_failures(self) -> bool:
        """Whether no text has a row."""
        return all(isinstance(row, Refusal) for row in self.rows)


@dataclass(frozen=True, slots=True)
class _Failed:
    refusal: Refusal
    is_out_of_memory: bool


_NOT_A_NUMBER = Refusal(
    status_of_failure(ValueError()),
    encode_failure_body("the model's output holds NaN or infinity"),
)


def run_isolating(forward: Forward, texts: Sequence[TokenizedText]) -> Isolated:
    """Run a batch; where that fails, halve it until only the texts at fault are without a row.

    Args:
        forward: Returns float32 [texts, width], or raises anything at all.
        texts: The batch, which is not empty.
    """
    rows: list[Row | Refusal] = []
    isolated = Isolated(rows)
    parts = [texts]
    while parts:
        part = parts.pop()
        result = _run(forward, part)
        if not isinstance(result, _Failed):
            rows += _rows_of(result)
            continue
        if result.is_out_of_memory:
            release_memory()
            if len(part) > 1:
                isolated.too_large_tokens.append(cost_tokens(part))
        if len(part) == 1:
            isolated.raised = True
            rows.append(result.refusal)
        else:
            half = len(part) // 2
            parts += [part[half:], part[:half]]
    return isolated


def cost_tokens(texts: Sequence[TokenizedText]) -> int:
    """Return what texts cost the model together: their number times the longest."""
    return len(texts) * max(text.tokens for text in texts)


def _run(forward: Forward, texts: Sequence[TokenizedText]) -> Rows | _Failed:
    try:
        return forward(texts)
    except ENDS_THE_TASK:
        raise
    except BaseException as error:  # noqa: BLE001 -- a model may raise anything; each waiter is answered
        # The halves run when this returned: within ``except`` the failed forward lives on.
        return _Failed(Refusal.of(error), is_out_of_memory(error))


def _rows_of(rows: Rows) -> list[Row | Refusal]:
    finite = np.all(np.isfinite(rows), axis=1)
    return [
        row if is_finite else _NOT_A_NUMBER
        for row, is_finite in zip(rows, finite.tolist(), strict=True)
    ]
