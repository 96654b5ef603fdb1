"""Answers in memory, for items of one row each."""

from bisect import bisect_right, insort
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from headrace_client.bulk.output.stores.answers import runs

Block = TypeVar("Block", NDArray[Any], Sequence[bytes])


class _Buffer(Generic[Block]):
    """Responses as they came, each by the first of its items."""

    def __init__(self) -> None:
        self._blocks: dict[int, Block] = {}
        self._firsts: list[int] = []

    def put(self, first: int, answers: Block) -> None:
        if not len(answers):
            return
        if first not in self._blocks:
            insort(self._firsts, first)
        self._blocks[first] = answers

    def forget(self, below: int) -> None:
        kept = [each for each in self._firsts if each + len(self._blocks[each]) > below]
        if len(kept) < len(self._firsts):
            self._blocks = {each: self._blocks[each] for each in kept}
            self._firsts = kept

    def sync(self) -> dict[str, Any]:
        return {}

    def recover(self, mark: Mapping[str, Any] | None) -> None:  # noqa: ARG002 - of the protocol
        self._blocks, self._firsts = {}, []

    def close(self) -> None:
        self.recover(None)

    def _pieces(self, items: NDArray[np.int64]) -> Iterator[tuple[int, Block]]:
        """Each piece of a response that ``items`` ask for, and where it goes."""
        for start, end, first in runs(items):
            at, item = start, first
            while at < end:
                piece = self._from(item, end - at)
                yield at, piece
                at, item = at + len(piece), item + len(piece)

    def _from(self, item: int, count: int) -> Block:
        """The answer of this item, and up to ``count`` of those that follow."""
        place = bisect_right(self._firsts, item) - 1
        if place + 1 < len(self._firsts):
            count = min(count, self._firsts[place + 1] - item)
        # A single item that was sent again may lie within a response, which reaches further.
        while place >= 0:
            first = self._firsts[place]
            block = self._blocks[first]
            if item < first + len(block):
                return block[item - first : item - first + count]
            place -= 1
        raise KeyError(f"item {item} has no answer here. This is a bug.")


class VectorBuffer(_Buffer[NDArray[Any]]):
    """Vectors in memory, until their rows are written."""

    def __init__(self) -> None:
        super().__init__()
        self._empty: NDArray[Any] = np.zeros((0, 0), np.float32)

    def put(self, first: int, answers: NDArray[Any]) -> None:
        super().put(first, answers)
        self._empty = answers[:0]

    def take(self, items: NDArray[np.int64]) -> NDArray[Any]:
        pieces = list(self._pieces(items))
        if len(pieces) == 1 and len(pieces[0][1]) == len(items):
            return pieces[0][1]
        vectors = np.zeros((len(items), self._empty.shape[1]), self._empty.dtype)
        for at, piece in pieces:
            vectors[at : at + len(piece)] = piece
        return vectors


class BodyBuffer(_Buffer[Sequence[bytes]]):
    """Response bodies in memory, until their rows are written."""

    def take(self, items: NDArray[np.int64]) -> list[bytes]:
        bodies = [b""] * len(items)
        for at, piece in self._pieces(items):
            bodies[at : at + len(piece)] = piece
        return bodies
