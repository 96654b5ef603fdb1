import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from headrace_client.bulk.job.chunks import Chunk
from headrace_client.bulk.job.reading import RowReader, Selection
from headrace_client.bulk.job.state.failed_items import FailedItems
from headrace_client.bulk.output.answered import Failure
from headrace_client.bulk.rows.errors import RowFailure
from headrace_client.bulk.rows.rendering import Rendered
from headrace_client.bulk.rows.rows import Rows
from headrace_client.bulk.rows.seen import SeenItems
from headrace_client.jobs import RangeSet


class Table:
    """Rows of one column, read in batches."""

    def __init__(self, texts: Sequence[str], batch_rows: int, *, carries: bool = True) -> None:
        self._texts = list(texts)
        self._batch_rows = batch_rows
        self._carried = ["text"] if carries else []

    def batches(self, start_row: int = 0) -> Iterator[Rows]:
        for first in range(start_row, len(self._texts), self._batch_rows):
            texts = self._texts[first : first + self._batch_rows]
            yield Rows(
                first_row=first,
                carried=pa.record_batch({"text": texts}).select(self._carried),
                bytes_read=first + len(texts),
                place=lambda row: f"t, row {row}",
                values=lambda _name, texts=texts: texts,  # type: ignore[misc]
            )


class Texts:
    columns = ("text",)
    fingerprint: dict[str, str | int | bool] = {}  # noqa: RUF012 - a stand-in

    def render(self, rows: Rows) -> Rendered:
        texts = rows.values("text")
        failures = {
            rows.first_row + at: RowFailure("empty", "is empty", rows.place(rows.first_row + at))
            for at, each in enumerate(texts)
            if not each
        }
        payloads = [b"" if not each else b'"%s"' % each.encode() for each in texts]
        return Rendered(first_row=rows.first_row, payloads=payloads, failures=failures)


def read(
    texts: Sequence[str],
    *,
    batch_rows: int = 4,
    selection: Selection | None = None,
    connection: sqlite3.Connection | None = None,
    carries: bool = True,
) -> tuple[list[Chunk], RowReader]:
    reader = RowReader(
        Table(texts, batch_rows, carries=carries),
        Texts(),
        selection or Selection(),
        lock=threading.Lock(),
        seen=None if connection is None else SeenItems(connection),
    )
    chunks = []
    while (chunk := reader.next_chunk()) is not None:
        chunks.append(chunk)
    return chunks, reader


def items(chunks: Sequence[Chunk]) -> list[int]:
    return [int(item) for chunk in chunks for item in chunk.items]


def connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def test_every_row_is_an_item_and_a_failed_row_is_none() -> None:
    chunks, _ = read(["a", "", "a", "b", "c"])
    assert items(chunks) == [0, -1, 1, 2, 3]
    assert chunks[0].payloads == [b'"a"', b'"a"', b'"b"']
    assert chunks[0].failures[1] == Failure("empty", "t, row 1: is empty", retryable=False)
    assert chunks[1].first_item == 3


def test_identical_rows_share_an_item_over_batches(tmp_path: Path) -> None:
    chunks, _ = read(["a", "b", "a", "c", "b", "d"], connection=connect(tmp_path / "db"))
    assert items(chunks) == [0, 1, 0, 2, 1, 3]
    assert [each.payloads for each in chunks] == [[b'"a"', b'"b"', b'"c"'], [b'"d"']]


@pytest.mark.parametrize("batch_rows", [1, 3, 5, 64])
def test_rows_read_again_after_a_crash_get_the_same_items(tmp_path: Path, batch_rows: int) -> None:
    texts = [f"t{number * 7 % 23}" for number in range(60)]
    names: dict[str, int] = {}
    expected = [names.setdefault(each, len(names)) for each in texts]
    before = connect(tmp_path / "db")
    _, reader = read(texts[:20], connection=before)
    # A checkpoint whose rows are written up to row 9, with more of them numbered.
    before.execute("COMMIT")
    before.close()
    start_item = len(set(texts[:9]))
    chunks, _ = read(
        texts,
        batch_rows=batch_rows,
        selection=Selection(
            start_row=9, next_item=start_item, items_numbered=reader.items_numbered
        ),
        connection=connect(tmp_path / "db"),
    )
    assert items(chunks) == expected[9:]
    payloads = [each for chunk in chunks for each in chunk.payloads]
    assert payloads == [b'"%s"' % each.encode() for each in list(names)[start_item:]]


def test_a_round_reads_the_chosen_rows_and_all_that_came_later() -> None:
    texts = [f"t{number}" for number in range(12)]
    selection = Selection(start_row=2, only=np.array([2, 5, 6]), all_from=10, end_row=11)
    chunks, reader = read(texts, selection=selection)
    rows = [int(row) for chunk in chunks for row in chunk.row_numbers]
    assert rows == [2, 5, 6, 10]
    assert [each.columns["text"].to_pylist() for each in chunks if len(each)] == [
        ["t2", "t5"],
        ["t6"],
        ["t10"],
    ]
    assert reader.rows_seen == 11


def test_chosen_rows_that_carry_no_columns_are_rows_all_the_same() -> None:
    selection = Selection(only=np.array([1, 3]), all_from=4, end_row=4)
    chunks, _ = read(["a", "b", "c", "d"], selection=selection, carries=False)
    assert [each.columns.num_rows for each in chunks] == [2]


def test_failed_items_are_known_to_later_rows_and_after_a_crash(tmp_path: Path) -> None:
    connection = connect(tmp_path / "db")
    failed = FailedItems(connection, threading.Lock())
    failed.add({3: Failure("c", "m", retryable=True), 9: Failure("d", "n", retryable=False)})
    assert failed.among(np.array([1, 3, -1, 9])) == {
        1: Failure("c", "m", retryable=True),
        3: Failure("d", "n", retryable=False),
    }
    failed.forget(5)
    assert set(failed.among(np.array([3, 9, 3]))) == {0, 1, 2}
    connection.execute("COMMIT")

    # Item 9 was not durable: whether it fails is told again by its result.
    again = FailedItems(connection, threading.Lock())
    again.recover(RangeSet([(0, 8)]))
    assert again.among(np.array([3, 9])) == {0: Failure("c", "m", retryable=True)}
