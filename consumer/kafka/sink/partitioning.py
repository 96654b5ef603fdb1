"""Which partition a message goes to: by its key as Java's producer does it, or in runs."""

import struct
from collections.abc import Sequence

_MASK = 0xFFFFFFFF
_M = 0x5BD1E995
_SEED = 0x9747B28C
_POSITIVE = 0x7FFFFFFF


def murmur2(data: bytes) -> int:
    """Return the 32-bit MurmurHash2 of ``data`` with the seed of Kafka's Java client.

    The same numbers as ``org.apache.kafka.common.utils.Utils.murmur2``, taken unsigned, and as
    ``aiokafka.partitioner.murmur2``, which takes twice as long.
    """
    length = len(data)
    whole_words = length >> 2
    h = _SEED ^ length
    for k in struct.unpack_from(f"<{whole_words}I", data):
        k = (k * _M) & _MASK  # noqa: PLW2901 - the algorithm's own name for each step
        h = (h * _M) & _MASK ^ ((k ^ (k >> 24)) * _M) & _MASK
    rest = data[whole_words << 2 :]
    if rest:
        h = ((h ^ int.from_bytes(rest, "little")) * _M) & _MASK
    h = ((h ^ (h >> 13)) * _M) & _MASK
    return h ^ (h >> 15)


def partition_of_key(key: bytes, partition_count: int) -> int:
    """Return the partition that Java's default partitioner gives ``key``."""
    return (murmur2(key) & _POSITIVE) % partition_count


class RunPartitioner:
    """Spreads messages without a key over the partitions of a topic, in runs.

    A batch per partition is what costs, so that neighbours stay together: the next partition's
    turn comes after ``run_records`` messages, or when a call's messages end.

    Args:
        run_records: The most messages in a row for one partition.
    """

    def __init__(self, run_records: int) -> None:
        self._run_records = run_records
        self._partition = 0
        self._left_records = run_records

    def end_run(self) -> None:
        """Let the next message open a run of its own."""
        if self._left_records < self._run_records:
            self._partition += 1
            self._left_records = self._run_records

    def next_partition(self, partitions: Sequence[int]) -> int:
        """Return the partition of the next message, one of ``partitions``."""
        if self._left_records == 0:
            self._partition += 1
            self._left_records = self._run_records
        self._left_records -= 1
        return partitions[self._partition % len(partitions)]
