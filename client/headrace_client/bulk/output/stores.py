"""Answers by item, until their rows are written; and for ever where rows share items.

Without ``dedupe`` an item has one row: answers wait in memory (``VectorBuffer``,
``BodyBuffer``) and are forgotten once written. With it a row may want an answer that was written
long ago: answers go to a file in the state directory (``VectorStore``, ``BodyStore``), are read
back from there, and cost no memory. All four have these methods.
"""

from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Answers = TypeVar("Answers")  # NDArray [items, dimensions], or Sequence[bytes]


class ItemAnswers(Protocol, Generic[Answers]):
    def put(self, first: int, answers: Answers) -> None:
        """The answers of items ``first`` and following; again is no error, the last counts."""

    def take(self, items: NDArray[np.int64]) -> Answers:
        """The answers of these items, in this order; of a negative number zeros or empty."""

    def forget(self, below: int) -> None:
        """No row will ask for an item below this one, unless it repeats an earlier row."""

    def sync(self) -> dict[str, Any]:
        """Make durable what was put; returns what the checkpoint stores."""

    def recover(self, mark: dict[str, Any] | None) -> None:
        """Go back to what the checkpoint stored (``None``: a new job)."""
