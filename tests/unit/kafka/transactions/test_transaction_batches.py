"""Record batches of a transaction: sequences without a gap, in order, under one epoch."""

import struct

import pytest
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from consumer.kafka.transactions import batches
from consumer.kafka.transactions.batches import BatchEncoder
from consumer.kafka.transactions.errors import NextStep, next_step
from consumer.ports import Message, TopicPartition

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)
_TRANSACTIONAL = 0x10


def header(encoded: bytes) -> tuple[int, int, int, int, int]:
    """Return attributes, producer id, epoch, base sequence and count of a record batch."""
    (attributes,) = struct.unpack_from(">h", encoded, 21)
    return (attributes, *struct.unpack_from(">qhii", encoded, 43))


@given(
    rounds=st.lists(st.lists(st.integers(0, 600), max_size=12), max_size=5),
    most_records=st.none() | st.integers(1, 5),
)
def test_sequences_run_on_over_batches_and_transactions(
    rounds: list[list[int]], most_records: int | None
) -> None:
    encoder = BatchEncoder(lambda _topic: 1000)
    encoder.begin_epoch(77, 3)
    sequence = 0
    for sizes in rounds:
        messages = [Message("t", b"k", b"x" * size, [("h", b"v")]) for size in sizes]
        batches = encoder.encode(P0, messages, most_records)
        position = 0
        for batch in batches:
            assert batch.first == position
            assert 1 <= batch.records <= (most_records or len(messages))
            assert header(batch.encoded) == (_TRANSACTIONAL, 77, 3, sequence, batch.records)
            assert batch.records == 1 or len(batch.encoded) <= 1000
            position += batch.records
            sequence += batch.records
        assert position == len(messages)


def test_partitions_count_apart_and_an_epoch_begins_at_zero() -> None:
    encoder = BatchEncoder(lambda _topic: 1000)
    encoder.begin_epoch(1, 0)
    messages = [Message("t", None, b"v", [])] * 3
    encoder.encode(P0, messages, None)
    (other,) = encoder.encode(P1, messages, None)
    encoder.begin_epoch(1, 1)
    (again,) = encoder.encode(P0, messages, None)

    assert header(other.encoded)[3] == 0
    assert header(again.encoded)[2:4] == (1, 0)


@pytest.mark.parametrize(
    ("code", "step"),
    [
        (47, NextStep.FENCED),
        (90, NextStep.FENCED),
        (51, NextStep.SOON),
        (88, NextStep.SOON),
        (6, NextStep.MOVED),
        (16, NextStep.MOVED),
        (10, NextStep.REJECT),
        (12, NextStep.REFUSED),
        (53, NextStep.REFUSED),
        (45, NextStep.BEGIN_AGAIN),
        (48, NextStep.BEGIN_AGAIN),
        (120, NextStep.BEGIN_AGAIN),
        (31_000, NextStep.BEGIN_AGAIN),
    ],
)
def test_each_error_says_what_to_do_next(code: int, step: NextStep) -> None:
    assert next_step(code) is step


def test_no_error_is_no_error() -> None:
    with pytest.raises(ValueError, match="no error"):
        next_step(0)


def test_sequence_numbers_of_many_partitions_ask_for_another_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batches, "MOST_PARTITIONS", 3)
    encoder = BatchEncoder(lambda _topic: 1000)
    encoder.begin_epoch(1, 0)
    for number in range(4):
        assert not encoder.is_full
        topic = f"bulk-{number}"
        encoder.encode(TopicPartition(topic, 0), [Message(topic, b"k", b"v", [])], None)
    assert encoder.is_full
    encoder.begin_epoch(1, 1)
    assert not encoder.is_full


@pytest.mark.parametrize("codec", range(5))
def test_batches_of_transactions_are_packed(codec: int) -> None:
    encoder = BatchEncoder(lambda _topic: 100_000, codec)
    encoder.begin_epoch(1, 0)
    messages = [Message("t", None, b"x" * 500, [])] * 20
    (batch,) = encoder.encode(P0, messages, None)

    read = MemoryRecords(batch.encoded).next_batch()
    assert read.compression_type == codec
    assert [each.value for each in read] == [b"x" * 500] * 20
    assert (len(batch.encoded) < 2_000) == bool(codec)
