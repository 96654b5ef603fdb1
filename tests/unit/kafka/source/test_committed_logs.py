"""Committed points beside logs that are not what they were."""

import pytest

from consumer.engine.offsets.completion_map import CompletionMap, encode
from consumer.kafka.source.logs import Logs, fits, point_in
from consumer.ports import OffsetAndMetadata, TopicPartition

P = TopicPartition("requests", 3)
START, END = 10, 100
OLD, NEW = b"old!", b"new!"


def committed(offset: int, log_id: bytes = b"") -> OffsetAndMetadata:
    return OffsetAndMetadata(offset, encode(offset, CompletionMap(offset, log_id=log_id)))


@pytest.mark.parametrize(
    ("point", "end", "log_id"),
    [
        (committed(50, NEW), END, NEW),
        (committed(END, NEW), END, NEW),
        (committed(5, NEW), END, NEW),
        (committed(50), END, NEW),
        (committed(50, OLD), END, b""),
        (committed(500, NEW), None, NEW),
        (OffsetAndMetadata(50, "of another program"), END, NEW),
    ],
)
def test_reading_goes_on(point: OffsetAndMetadata, end: int | None, log_id: bytes) -> None:
    assert fits(point, end, log_id)


@pytest.mark.parametrize(
    ("point", "log_id", "read_on_at", "said"),
    [
        (committed(50, OLD), NEW, START, "deleted and created again"),
        (committed(500, OLD), NEW, START, "deleted and created again"),
        (committed(105, NEW), NEW, END, "lost up to 5 records"),
        (committed(105), NEW, START, "created again, or the cluster has lost records"),
        (committed(105, OLD), b"", START, "created again, or the cluster has lost records"),
    ],
)
def test_another_log_is_read_from_its_start_and_one_that_was_cut_short_from_its_end(
    point: OffsetAndMetadata,
    log_id: bytes,
    read_on_at: int,
    said: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert not fits(point, END, log_id)

    found = point_in(P, point, Logs({P: START}, {P: END}, log_id))

    assert found == OffsetAndMetadata(read_on_at, "")
    assert said in caplog.text
    assert "requests/3" in caplog.text


def test_another_log_is_told_where_nobody_says_where_it_ends() -> None:
    assert not fits(committed(50, OLD), None, NEW)
    assert point_in(P, committed(50, OLD), Logs({}, {}, NEW)) == OffsetAndMetadata(0, "")
