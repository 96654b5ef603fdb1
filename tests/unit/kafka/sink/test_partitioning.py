"""Partitions of keys as Java's producer has them, and runs without a key."""

import pytest
from aiokafka.partitioner import murmur2 as reference
from hypothesis import given
from hypothesis import strategies as st

from consumer.kafka.sink.partitioning import (
    RunPartitioner,
    murmur2,
    partition_of_key,
    partitions_of_keys,
)


@given(st.binary(max_size=70))
def test_the_hash_is_that_of_kafkas_clients(key: bytes) -> None:
    assert murmur2(key) == reference(key)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_is_javas(key: bytes, expected: int) -> None:
    """The values of org.apache.kafka.common.utils.UtilsTest.testMurmur2."""
    assert murmur2(key) == expected % 2**32


@given(st.binary(max_size=20), st.integers(1, 1000))
def test_a_key_has_one_partition(key: bytes, count: int) -> None:
    assert 0 <= partition_of_key(key, count) < count


@given(st.lists(st.binary(max_size=9), max_size=200), st.integers(1, 100))
def test_many_keys_go_where_each_alone_does(keys: list[bytes], count: int) -> None:
    assert partitions_of_keys(keys, count) == [partition_of_key(key, count) for key in keys]


def test_a_run_ends_when_it_is_full_or_the_call_ends() -> None:
    runs = RunPartitioner(run_records=3)
    partitions = [0, 1, 2]

    assert [runs.next_partition(partitions) for _ in range(7)] == [0, 0, 0, 1, 1, 1, 2]
    runs.end_run()
    assert runs.next_partition(partitions) == 0


def test_calls_without_messages_skip_no_partition() -> None:
    runs = RunPartitioner(run_records=3)
    runs.end_run()
    runs.end_run()

    assert runs.next_partition([0, 1]) == 0
