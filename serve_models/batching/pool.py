"""Cuts batches by token budget from a pool of waiting texts. Pure: time is an argument.

A transformer's cost is rows times the longest row, so a batch of unequal lengths pays for padding.
If many texts wait, a run of neighbours by length has almost none. Sentence Transformers sorts a
whole list for the same reason.

Cutting from the longest down suits a complete list, not a pool that fills up as it empties: long
texts leave as they come, few and of unequal lengths, and short ones pile up. On lengths of a
lognormal distribution it computed 2.3 tokens for each real one; the rule below computes 1.08 (500
waiting, a budget of 2,048; sorting everything: 1.02).
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from serve_models.batching.forward_cost import FIRST_FIXED_TOKENS

T = TypeVar("T")

OLDEST_EVERY_BATCHES = 4
"""Under a backlog every text is overdue. With the oldest in every batch, padding would cost what
the pool saves."""


@dataclass(slots=True, eq=False)
class Waiting(Generic[T]):
    text: T
    tokens: int
    since_s: float
    order: tuple[int, int]
    in_pool: bool = field(default=True)


class Pool(Generic[T]):
    """Texts that wait for the model.

    A batch is a run of neighbours by length: the run with the least padding, or one around the
    oldest text once that has waited ``max_wait_s``, so that a rare length is not passed over.

    Attributes:
        token_budget_tokens: The most that rows times the longest row may be. A text over this
            budget makes a batch of its own. This and the next three may change between batches.
        fixed_tokens: What a forward pass costs however small it is, in tokens. The higher it is,
            the more padding a larger batch may have.
        max_batch_texts: The most rows of a batch.
        max_wait_s: Once the oldest text has waited this long, the next batch has it. Under a steady
            backlog every text waits longer, and batches then go by age.
        tokens: Of all texts that wait.
    """

    def __init__(self, token_budget_tokens: int, max_batch_texts: int, max_wait_s: float) -> None:
        self.token_budget_tokens = token_budget_tokens
        self.fixed_tokens = FIRST_FIXED_TOKENS
        self.tokens = 0
        self.max_batch_texts = max_batch_texts
        self.max_wait_s = max_wait_s
        self._by_length: list[Waiting[T]] = []
        self._by_age: deque[Waiting[T]] = deque()
        self._is_sorted = True
        self._added = 0
        self._batches_since_oldest = OLDEST_EVERY_BATCHES

    def __len__(self) -> int:
        return len(self._by_length)

    def add(self, text: T, tokens: int, now_s: float) -> Waiting[T]:
        place = Waiting(text, tokens, now_s, (tokens, self._added))
        self._added += 1
        self.tokens += tokens
        self._by_length.append(place)
        self._by_age.append(place)
        self._is_sorted = False
        return place

    def discard(self, places: Iterable[Waiting[T]]) -> int:
        waiting = [place for place in places if place.in_pool]
        for place in waiting:
            place.in_pool = False
            self.tokens -= place.tokens
        if waiting:
            self._by_length = [place for place in self._by_length if place.in_pool]
            self._by_age = deque(place for place in self._by_age if place.in_pool)
        return len(waiting)

    def next_batch(self, now_s: float) -> list[T]:
        """Remove and return the next batch, longest text first; empty if no text waits."""
        if not self._by_length:
            return []
        if not self._is_sorted:
            # Timsort merges the sorted part with what was added since, so this is near linear.
            self._by_length.sort(key=_order)
            self._is_sorted = True
        oldest = self._oldest()
        self._batches_since_oldest += 1
        is_overdue = now_s - oldest.since_s >= self.max_wait_s
        if is_overdue and self._batches_since_oldest >= OLDEST_EVERY_BATCHES:
            self._batches_since_oldest = 0
            start, stop = self._run_around(bisect_left(self._by_length, oldest.order, key=_order))
        else:
            start, stop = self._densest_run()
        batch = self._by_length[start:stop]
        del self._by_length[start:stop]
        for place in batch:
            place.in_pool = False
            self.tokens -= place.tokens
        return [place.text for place in reversed(batch)]

    def _oldest(self) -> Waiting[T]:
        while not self._by_age[0].in_pool:
            self._by_age.popleft()
        return self._by_age[0]

    def _densest_run(self) -> tuple[int, int]:
        """Of the runs that fill the budget, find the one that costs least per real token."""
        tokens = np.fromiter((place.tokens for place in self._by_length), np.int64)
        tokens_before = np.concatenate(([0], np.cumsum(tokens)))
        stops = np.arange(1, len(tokens) + 1)
        rows = np.clip(self.token_budget_tokens // np.maximum(tokens, 1), 1, self.max_batch_texts)
        starts = np.maximum(stops - rows, 0)
        real_tokens = np.maximum(tokens_before[stops] - tokens_before[starts], 1)
        cost = ((stops - starts) * tokens + self.fixed_tokens) / real_tokens
        best = int(np.argmin(cost))
        return int(starts[best]), int(stops[best])

    def _run_around(self, position: int) -> tuple[int, int]:
        """Grow a run from ``position``, each time on the side that costs less padding."""
        start, stop = position, position + 1
        longest_tokens = self._by_length[position].tokens
        while True:
            rows = stop - start
            fits_shorter = start > 0 and rows < self._rows_within_budget(longest_tokens)
            longer_tokens = self._by_length[stop].tokens if stop < len(self._by_length) else 0
            fits_longer = longer_tokens > 0 and rows < self._rows_within_budget(longer_tokens)
            if fits_longer and fits_shorter:
                padding_if_shorter = longest_tokens - self._by_length[start - 1].tokens
                padding_if_longer = rows * (longer_tokens - longest_tokens)
                fits_longer = padding_if_longer <= padding_if_shorter
            if fits_longer:
                stop += 1
                longest_tokens = longer_tokens
            elif fits_shorter:
                start -= 1
            else:
                return start, stop

    def _rows_within_budget(self, longest_tokens: int) -> int:
        rows = self.token_budget_tokens // max(longest_tokens, 1)
        return max(1, min(rows, self.max_batch_texts))


def _order(place: Waiting[T]) -> tuple[int, int]:
    return place.order
