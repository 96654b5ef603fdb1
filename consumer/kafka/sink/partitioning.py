"""Which partition a message goes to: by its key as Java's producer does it, or in runs."""

import struct
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

_MASK = 0xFFFFFFFF
_M = 0x5BD1E995
_SEED = 0x9747B28C
_POSITIVE = 0x7FFFFFFF
_FEW_KEYS = 8
"""numpy's calls cost more than they save below this."""


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
    return (murmur2(key) & _POSITIVE) % partition_count


def partitions_of_keys(keys: Sequence[bytes], partition_count: int) -> list[int]:
    """Return ``partition_of_key`` of each key; keys of one length are hashed together."""
    found = [0] * len(keys)
    of_length: defaultdict[int, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        of_length[len(key)].append(index)
    for length, indexes in of_length.items():
        if len(indexes) < _FEW_KEYS:
            for index in indexes:
                found[index] = partition_of_key(keys[index], partition_count)
        else:
            hashes = _murmur2_of([keys[index] for index in indexes], length)
            numbers = (hashes & np.uint32(_POSITIVE)) % np.uint32(partition_count)
            for index, number in zip(indexes, numbers.tolist(), strict=True):
                found[index] = number
    return found


def _murmur2_of(keys: Sequence[bytes], length: int) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    """Return ``murmur2`` of keys of one length; numpy's products wrap as the algorithm wants."""
    m = np.uint32(_M)
    whole_words = length >> 2
    # Bytes that fill up the last word are zeros, as ``murmur2`` has them.
    padded = np.zeros((len(keys), 4 * (whole_words + 1)), np.uint8)
    padded[:, :length] = np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), length)
    words = padded.view("<u4")
    h = np.full(len(keys), _SEED ^ length, np.uint32)
    for position in range(whole_words):
        k = words[:, position] * m
        k ^= k >> np.uint32(24)
        k *= m
        h *= m
        h ^= k
    if length & 3:
        h ^= words[:, whole_words]
        h *= m
    h ^= h >> np.uint32(13)
    h *= m
    return h ^ (h >> np.uint32(15))


class RunPartitioner:
    """Spreads messages without a key over the partitions of a topic, in runs.

    Each batch per partition has a cost, so neighbours stay together: the next partition's turn
    comes after ``run_records`` messages, or when a call's messages end.
    """

    def __init__(self, run_records: int) -> None:
        self._run_records = run_records
        self._partition = 0
        self._left_records = run_records

    def end_run(self) -> None:
        if self._left_records < self._run_records:
            self._partition += 1
            self._left_records = self._run_records

    def next_partition(self, partitions: Sequence[int]) -> int:
        if self._left_records == 0:
            self._partition += 1
            self._left_records = self._run_records
        self._left_records -= 1
        return partitions[self._partition % len(partitions)]
