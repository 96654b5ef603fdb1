"""Committed offsets (OffsetFetch) and the bounds of logs (ListOffsets).

OffsetFetch 7 (KIP-447) withholds its answer while a transaction on the offsets is undecided;
aiokafka 0.14 has versions up to 3. ListOffsets is written and read by numpy, which for 10,000
partitions takes a thirtieth of aiokafka's 28 ms.
"""

import struct
from collections.abc import Sequence
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from aiokafka.protocol.api import Request, RequestStruct
from aiokafka.protocol.commit import OffsetFetchRequest_v3
from aiokafka.protocol.offset import OffsetRequest_v2, OffsetResponse_v2
from aiokafka.protocol.types import Boolean, Int16, Int32, Int64, String

from consumer.kafka.client.structs import (
    NO_TAGS,
    PARTITIONS_BY_TOPIC,
    TEXT,
    array,
    request_struct,
    with_tags,
)
from consumer.ports import OffsetAndMetadata, TopicPartition

EARLIEST, LATEST = -2, -1
"""Timestamps by which ListOffsets asks for a log's start and end."""
READ_UNCOMMITTED, READ_COMMITTED = 0, 1
_NO_REPLICA = -1
_NOTHING_COMMITTED = -1
_OFFSETS_STABLE_FROM_VERSION = 7

_ASKED = np.dtype([("partition", ">i4"), ("timestamp", ">i8")])
_FOUND = np.dtype([("partition", ">i4"), ("code", ">i2"), ("timestamp", ">i8"), ("offset", ">i8")])


OffsetFetchRequest_v7 = request_struct(
    9,
    7,
    (("group_id", TEXT), PARTITIONS_BY_TOPIC, ("require_stable", Boolean)),
    (
        ("throttle_time_ms", Int32),
        array(
            "topics",
            ("topic", TEXT),
            array(
                "partitions",
                ("partition", Int32),
                ("offset", Int64),
                ("leader_epoch", Int32),
                ("metadata", TEXT),
                ("error_code", Int16),
            ),
        ),
        ("error_code", Int16),
    ),
)


class CommittedOffsetsRequest(
    Request[OffsetFetchRequest_v3 | RequestStruct]  # type: ignore[misc]  # aiokafka is untyped
):
    """Asks for the committed offsets of partition numbers by topic.

    With ``require_stable`` the answer is UNSTABLE_OFFSET_COMMIT while a transaction on the offsets
    is undecided. Brokers before Kafka 2.5 return undecided offsets.
    """

    API_KEY = 9

    def __init__(
        self, group: str, topics: list[tuple[str, list[int]]], *, require_stable: bool
    ) -> None:
        self._group = group
        self._topics = topics
        self._require_stable = require_stable
        stable = (OffsetFetchRequest_v7,) if require_stable else ()
        self._CLASSES = (OffsetFetchRequest_v3, *stable)

    def build(self, request_struct_class: type[Any]) -> Any:
        if request_struct_class.API_VERSION < _OFFSETS_STABLE_FROM_VERSION:
            return request_struct_class(self._group, self._topics)
        return request_struct_class(
            self._group, with_tags(self._topics), self._require_stable, NO_TAGS
        )


def read_points(response: Any) -> tuple[set[int], dict[TopicPartition, OffsetAndMetadata | None]]:
    """Return an OffsetFetch response's error codes, and the points without error."""
    codes: set[int] = {response.error_code}
    points: dict[TopicPartition, OffsetAndMetadata | None] = {}
    for topic, results, *_tags in response.topics:
        for result in results:
            number, offset, *_epoch, metadata, code = result[:5]
            codes.add(code)
            if code == 0:
                is_there = offset != _NOTHING_COMMITTED
                point = OffsetAndMetadata(offset, metadata or "") if is_there else None
                points[TopicPartition(topic, number)] = point
    return codes, points


class LogOffsets(NamedTuple):
    """A response to ``ListOffsetsRequest``: error codes, with 0, and offsets by partition."""

    codes: set[int]
    offsets: dict[int, int]


class ListOffsetsResponse_v2(OffsetResponse_v2):  # type: ignore[misc]  # noqa: N801 - aiokafka's way
    @classmethod
    def decode(cls, data: BytesIO | bytes) -> Any:
        content = data if isinstance(data, bytes) else data.read()
        # The throttle time, the number of topics, which is 1, and the topic's name come first.
        (name_bytes,) = struct.unpack_from(">h", content, 8)
        (count,) = struct.unpack_from(">i", content, 10 + name_bytes)
        found = np.frombuffer(content, _FOUND, count, 14 + name_bytes)
        offsets = dict(zip(found["partition"].tolist(), found["offset"].tolist(), strict=True))
        return LogOffsets(set(np.unique(found["code"]).tolist()), offsets)


class ListOffsetsRequest_v2(OffsetRequest_v2):  # type: ignore[misc]  # noqa: N801 - aiokafka's way
    RESPONSE_TYPE = ListOffsetsResponse_v2

    def encode(self) -> bytes:
        topic, asked = self.topics
        head = struct.pack(">ibi", self.replica_id, self.isolation_level, 1)
        name = String("utf-8").encode(topic)
        return bytes(head + name + struct.pack(">i", len(asked)) + asked.tobytes())


class ListOffsetsRequest(
    Request[ListOffsetsRequest_v2]  # type: ignore[misc]  # aiokafka is untyped
):
    """Asks a broker for log bounds; ``READ_COMMITTED`` ends a log at its first open transaction."""

    API_KEY = 2

    def __init__(
        self, topic: str, numbers: Sequence[int], timestamp: int, isolation_level: int
    ) -> None:
        asked = np.empty(len(numbers), _ASKED)
        asked["partition"] = numbers
        asked["timestamp"] = timestamp
        self._values = (isolation_level, (topic, asked))

    def build(self, request_struct_class: type[Any]) -> Any:
        return request_struct_class(_NO_REPLICA, *self._values)
