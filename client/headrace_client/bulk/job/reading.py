"""Rows of the input become chunks: rendered, checked, and numbered as items.

Called from one thread, which is not the event loop's.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow as pa

from headrace_client.bulk.job.chunks import NO_ITEM, Chunk, Numbers
from headrace_client.bulk.output.answered import Failure
from headrace_client.bulk.rows.errors import RowFailure
from headrace_client.bulk.rows.identity import identity
from headrace_client.bulk.rows.rendering import Rendered, Renderer
from headrace_client.bulk.rows.rows import Rows
from headrace_client.bulk.rows.seen import CustomIds, SeenItems

_ROW_OVERHEAD_BYTES = 120
"""What Python takes for a row's payload and numbers, about."""


class GivesRows(Protocol):
    """The input, as ``rows.source.Source`` is."""

    def batches(self, start_row: int = 0) -> Iterator[Rows]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which rows of the input a run is about.

    Attributes:
        start_row: The first.
        end_row: One above the last; ``None`` for all that are there.
        only: Of the rows below ``all_from`` these, ascending; ``None`` for all.
        all_from: All rows from this one on.
        next_item: The number of the item that the first new row becomes.
        items_numbered: Items that have numbers from a former process; some of their rows are read
            again here.
    """

    start_row: int = 0
    end_row: int | None = None
    only: Numbers | None = field(default=None, repr=False)
    all_from: int = 0
    next_item: int = 0
    items_numbered: int = 0


class RowReader:
    """Reads chunks in order.

    Args:
        source: The input.
        renderer: Makes JSON of rows.
        selection: Which rows.
        lock: Held while the database is used, which is also the checkpoint's.
        seen: Finds rows that are the same work; ``None``: every row is an item of its own.
        custom_ids: Finds names that occur twice; ``None`` where rows have none.
    """

    def __init__(
        self,
        source: GivesRows,
        renderer: Renderer,
        selection: Selection,
        *,
        lock: threading.Lock,
        seen: SeenItems | None = None,
        custom_ids: CustomIds | None = None,
    ) -> None:
        self._batches = source.batches(selection.start_row)
        self._renderer = renderer
        self._selection = selection
        self._seen = seen
        self._custom_ids = custom_ids
        self._lock = lock
        self._next_item = selection.next_item
        self.items_numbered = max(selection.items_numbered, selection.next_item)
        """Items that have numbers; change and read it with the lock held."""
        self.rows_seen = selection.start_row
        """One above the last row of the input that was looked at."""

    def next_chunk(self) -> Chunk | None:
        """Return the next rows, perhaps none of a batch; ``None`` at the end.

        Raises ``InputError`` where a file breaks off.
        """
        end_row = self._selection.end_row
        if end_row is not None and self.rows_seen >= end_row:
            return None
        rows = next(self._batches, None)
        if rows is None:
            return None
        self.rows_seen = rows.end_row if end_row is None else min(rows.end_row, end_row)
        rendered = self._renderer.render(rows)
        positions = self._positions(rows)
        return self._chunk(rows, rendered, positions)

    def _positions(self, rows: Rows) -> Numbers:
        positions = np.arange(self.rows_seen - rows.first_row, dtype=np.int64)
        only = self._selection.only
        if only is None:
            return positions
        start = min(max(self._selection.all_from - rows.first_row, 0), len(positions))
        low, high = np.searchsorted(only, (rows.first_row, rows.first_row + start))
        return np.concatenate([only[low:high] - rows.first_row, positions[start:]])

    def _chunk(self, rows: Rows, rendered: Rendered, positions: Numbers) -> Chunk:
        first_row = rows.first_row
        chosen = positions.tolist()
        numbers = positions + first_row
        failures = (
            {
                position: _failure(rendered.failures[row])
                for position, row in enumerate(numbers.tolist())
                if row in rendered.failures
            }
            if rendered.failures
            else {}
        )
        custom_ids = (
            None if rendered.custom_ids is None else [rendered.custom_ids[each] for each in chosen]
        )
        if custom_ids is not None and self._custom_ids is not None:
            self._find_repeats(self._custom_ids, rows, numbers, custom_ids, failures)
        good = (
            [at for at in range(len(chosen)) if at not in failures]
            if failures
            else (range(len(chosen)))
        )
        payloads = [rendered.payloads[chosen[at]] for at in good]
        urls = None if rendered.urls is None else [rendered.urls[chosen[at]] for at in good]
        items = np.full(len(chosen), NO_ITEM, dtype=np.int64)
        first_item = self._next_item
        if self._seen is None:
            items[list(good)] = np.arange(first_item, first_item + len(payloads))
            new = payloads, urls
        else:
            good_rows = [int(numbers[at]) for at in good]
            given, new = self._distinct(self._seen, payloads, urls, good_rows)
            items[list(good)] = given
        self._next_item = first_item + len(new[0])
        columns = rows.carried
        if len(chosen) != columns.num_rows:
            columns = columns.take(pa.array(positions))
        payload_bytes = sum(map(len, new[0]))
        return Chunk(
            row_numbers=numbers,
            items=items,
            first_item=first_item,
            payloads=new[0],
            urls=new[1],
            columns=columns,
            custom_ids=custom_ids,
            failures=failures,
            size_bytes=columns.nbytes + payload_bytes + _ROW_OVERHEAD_BYTES * len(chosen),
            bytes_read=rows.bytes_read,
        )

    def _distinct(
        self, seen: SeenItems, payloads: list[bytes], urls: list[str] | None, rows: list[int]
    ) -> tuple[list[int], tuple[list[bytes], list[str] | None]]:
        if urls is None:
            identities = [identity(each) for each in payloads]
        else:
            identities = list(map(identity, payloads, urls))
        with self._lock:
            assigned = seen.assign(identities, rows, next_item=self.items_numbered)
            self.items_numbered += assigned.new
        # Rows that were numbered before a crash are new to this process all the same.
        fresh: list[int] = []
        end = self._next_item
        for at, item in enumerate(assigned.items):
            if item == end:
                fresh.append(at)
                end += 1
        if len(fresh) == len(payloads):
            return assigned.items, (payloads, urls)
        return assigned.items, (
            [payloads[at] for at in fresh],
            None if urls is None else [urls[at] for at in fresh],
        )

    def _find_repeats(
        self,
        known: CustomIds,
        rows: Rows,
        numbers: Numbers,
        custom_ids: list[str],
        failures: dict[int, Failure],
    ) -> None:
        named = [at for at in range(len(custom_ids)) if at not in failures]
        with self._lock:
            repeats = known.repeats(
                [custom_ids[at] for at in named], [int(numbers[at]) for at in named]
            )
        for at in named:
            row = int(numbers[at])
            if row in repeats:
                failures[at] = _failure(
                    RowFailure(
                        "duplicate_custom_id",
                        f"custom_id {custom_ids[at]!r} is that of row {repeats[row]} already; "
                        "give each line a custom_id of its own",
                        rows.place(row),
                    )
                )


def _failure(failure: RowFailure) -> Failure:
    return Failure(failure.code, f"{failure.place}: {failure.message}", retryable=False)
