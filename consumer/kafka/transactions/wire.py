"""Requests of Kafka's transactions in versions that aiokafka 0.14 does not have.

* InitProducerId 3 and 4 (KIP-360): go on as a known producer, refused where another one has been
  initialised since.
* OffsetFetch 7 (KIP-447): no answer while a transaction on the offsets is undecided.
* DescribeTransactions 0 (KIP-664): how a coordinator has ended a transaction.
* DescribeProducers 0 (KIP-664): which producers have a transaction open on a partition.
"""

from typing import Any

from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.commit import OffsetFetchRequest_v3
from aiokafka.protocol.transaction import InitProducerIdRequest_v0
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

NO_PRODUCER = (-1, -1)
"""Producer id and epoch of one that is new."""

_NO_TAGS: dict[int, bytes] = {}
_OFFSETS_STABLE_FROM_VERSION = 7
_PARTITIONS_BY_TOPIC = (
    "topics",
    CompactArray(
        ("topic", CompactString("utf-8")),
        ("partitions", CompactArray(Int32)),
        ("tags", TaggedFields),
    ),
)


class InitProducerIdResponse_v3(Response):  # type: ignore[misc]  # noqa: N801 - aiokafka's way
    """A producer's id and epoch."""

    API_KEY = 22
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("tags", TaggedFields),
    )


class InitProducerIdRequest_v3(RequestStruct):  # type: ignore[misc]  # noqa: N801 - aiokafka's way
    """Tells an old epoch as INVALID_PRODUCER_EPOCH."""

    FLEXIBLE_VERSION = True
    API_KEY = 22
    API_VERSION = 3
    RESPONSE_TYPE = InitProducerIdResponse_v3
    SCHEMA = Schema(
        ("transactional_id", CompactString("utf-8")),
        ("transaction_timeout_ms", Int32),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("tags", TaggedFields),
    )


class InitProducerIdResponse_v4(InitProducerIdResponse_v3):  # noqa: N801 - aiokafka's way
    """As version 3."""

    API_VERSION = 4


class InitProducerIdRequest_v4(InitProducerIdRequest_v3):  # noqa: N801 - aiokafka's way
    """Tells an old epoch as PRODUCER_FENCED."""

    API_VERSION = 4
    RESPONSE_TYPE = InitProducerIdResponse_v4


class InitProducerIdRequest(
    Request[InitProducerIdRequest_v0 | InitProducerIdRequest_v3 | InitProducerIdRequest_v4]  # type: ignore[misc]  # aiokafka is untyped
):
    """Initialises a transactional id.

    Args:
        transactional_id: The id.
        timeout_ms: After this the coordinator aborts a transaction of it.
        expected: Producer id and epoch to go on from, or ``NO_PRODUCER`` to fence whoever has it.
    """

    API_KEY = 22

    def __init__(self, transactional_id: str, timeout_ms: int, expected: tuple[int, int]) -> None:
        self._transactional_id = transactional_id
        self._timeout_ms = timeout_ms
        self._expected = expected

    def build(self, request_struct_class: type[Any]) -> Any:
        """Return the request in the version of ``request_struct_class``."""
        if request_struct_class is InitProducerIdRequest_v0:
            if self._expected != NO_PRODUCER:
                raise IncompatibleBrokerVersion("going on as a known producer takes Kafka 2.5")
            return request_struct_class(self._transactional_id, self._timeout_ms)
        return request_struct_class(
            self._transactional_id, self._timeout_ms, *self._expected, _NO_TAGS
        )


class OffsetFetchResponse_v7(Response):  # type: ignore[misc]  # noqa: N801 - aiokafka's way
    """Committed offsets."""

    API_KEY = 9
    API_VERSION = 7
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", CompactString("utf-8")),
                        ("error_code", Int16),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("error_code", Int16),
        ("tags", TaggedFields),
    )


class OffsetFetchRequest_v7(RequestStruct):  # type: ignore[misc]  # noqa: N801 - aiokafka's way
    """Asks for committed offsets, and can ask for stable ones only."""

    FLEXIBLE_VERSION = True
    API_KEY = 9
    API_VERSION = 7
    RESPONSE_TYPE = OffsetFetchResponse_v7
    SCHEMA = Schema(
        ("group_id", CompactString("utf-8")),
        _PARTITIONS_BY_TOPIC,
        ("require_stable", Boolean),
        ("tags", TaggedFields),
    )


class CommittedOffsetsRequest(
    Request[OffsetFetchRequest_v3 | OffsetFetchRequest_v7]  # type: ignore[misc]  # aiokafka is untyped
):
    """Asks for committed offsets.

    Args:
        group: The consumer group.
        topics: Partition numbers by topic.
        require_stable: The answer is UNSTABLE_OFFSET_COMMIT while a transaction on the offsets is
            undecided. A broker before Kafka 2.5 answers what it has.
    """

    API_KEY = 9

    def __init__(
        self, group: str, topics: list[tuple[str, list[int]]], *, require_stable: bool
    ) -> None:
        self._group = group
        self._topics = topics
        self._require_stable = require_stable

    def build(self, request_struct_class: type[Any]) -> Any:
        """Return the request in the version of ``request_struct_class``."""
        if request_struct_class.API_VERSION < _OFFSETS_STABLE_FROM_VERSION:
            return request_struct_class(self._group, self._topics)
        topics = [(topic, partitions, _NO_TAGS) for topic, partitions in self._topics]
        return request_struct_class(self._group, topics, self._require_stable, _NO_TAGS)


class DescribeProducersResponse_v0(Response):  # type: ignore[misc]  # noqa: N801 - aiokafka's way
    """What a leader knows of the producers that have written to its partitions."""

    API_KEY = 61
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("error_message", CompactString("utf-8")),
                        (
                            "producers",
                            CompactArray(
                                ("producer_id", Int64),
                                ("producer_epoch", Int32),
                                ("last_sequence", Int32),
                                ("last_timestamp_ms", Int64),
                                ("coordinator_epoch", Int32),
                                ("open_since_offset", Int64),
                                ("tags", TaggedFields),
                            ),
                        ),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class DescribeProducersRequest_v0(RequestStruct):  # type: ignore[misc]  # noqa: N801 - aiokafka's way
    """Asks a leader for its partitions' producers."""

    FLEXIBLE_VERSION = True
    API_KEY = 61
    API_VERSION = 0
    RESPONSE_TYPE = DescribeProducersResponse_v0
    SCHEMA = Schema(
        _PARTITIONS_BY_TOPIC,
        ("tags", TaggedFields),
    )


class DescribeProducersRequest(
    Request[DescribeProducersRequest_v0]  # type: ignore[misc]  # aiokafka is untyped
):
    """Asks which producers have written to partitions, and which have a transaction open.

    Args:
        topics: Partition numbers by topic; of partitions that the asked broker leads.
    """

    API_KEY = 61

    def __init__(self, topics: list[tuple[str, list[int]]]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[Any]) -> Any:
        """Return the request."""
        topics = [(topic, partitions, _NO_TAGS) for topic, partitions in self._topics]
        return request_struct_class(topics, _NO_TAGS)


class DescribeTransactionsResponse_v0(Response):  # type: ignore[misc]  # noqa: N801 - aiokafka's way
    """Where transactional ids' last transactions stand."""

    API_KEY = 65
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "transactions",
            CompactArray(
                ("error_code", Int16),
                ("transactional_id", CompactString("utf-8")),
                ("state", CompactString("utf-8")),
                ("timeout_ms", Int32),
                ("started_ms", Int64),
                ("producer_id", Int64),
                ("producer_epoch", Int16),
                _PARTITIONS_BY_TOPIC,
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class DescribeTransactionsRequest_v0(RequestStruct):  # type: ignore[misc]  # noqa: N801 - aiokafka's way
    """Asks a coordinator about transactional ids."""

    FLEXIBLE_VERSION = True
    API_KEY = 65
    API_VERSION = 0
    RESPONSE_TYPE = DescribeTransactionsResponse_v0
    SCHEMA = Schema(
        ("transactional_ids", CompactArray(CompactString("utf-8"))),
        ("tags", TaggedFields),
    )


class DescribeTransactionsRequest(
    Request[DescribeTransactionsRequest_v0]  # type: ignore[misc]  # aiokafka is untyped
):
    """Asks where a transactional id's last transaction stands.

    Args:
        transactional_id: The id.
    """

    API_KEY = 65

    def __init__(self, transactional_id: str) -> None:
        self._transactional_id = transactional_id

    def build(self, request_struct_class: type[Any]) -> Any:
        """Return the request."""
        return request_struct_class([self._transactional_id], _NO_TAGS)
