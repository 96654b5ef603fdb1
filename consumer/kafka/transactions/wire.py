"""Requests of Kafka's transactions in versions that aiokafka 0.14 lacks.

* InitProducerId 3 and 4 (KIP-360): go on as a known producer, refused once another producer has
  been initialised.
* DescribeTransactions 0 (KIP-664): how a coordinator has ended a transaction.
"""

from typing import Any

from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.api import Request, RequestStruct
from aiokafka.protocol.transaction import InitProducerIdRequest_v0
from aiokafka.protocol.types import CompactArray, Int16, Int32, Int64

from consumer.kafka.client.structs import (
    NO_TAGS,
    PARTITIONS_BY_TOPIC,
    TEXT,
    FlexibleRequest,
    array,
    request_struct,
)

NO_PRODUCER = (-1, -1)
"""Producer id and epoch of a new producer."""

_PRODUCER = (("producer_id", Int64), ("producer_epoch", Int16))


def _init_producer_id(version: int) -> Any:
    return request_struct(
        22,
        version,
        (("transactional_id", TEXT), ("transaction_timeout_ms", Int32), *_PRODUCER),
        (("throttle_time_ms", Int32), ("error_code", Int16), *_PRODUCER),
    )


# They report an old epoch as INVALID_PRODUCER_EPOCH and as PRODUCER_FENCED.
InitProducerIdRequest_v3, InitProducerIdRequest_v4 = _init_producer_id(3), _init_producer_id(4)

DescribeTransactionsRequest_v0 = request_struct(
    65,
    0,
    (("transactional_ids", CompactArray(TEXT)),),
    (
        ("throttle_time_ms", Int32),
        array(
            "transactions",
            ("error_code", Int16),
            ("transactional_id", TEXT),
            ("state", TEXT),
            ("timeout_ms", Int32),
            ("started_ms", Int64),
            *_PRODUCER,
            PARTITIONS_BY_TOPIC,
        ),
    ),
)


class InitProducerIdRequest(Request[RequestStruct]):  # type: ignore[misc]  # aiokafka is untyped
    """Initialises a transactional id.

    Args:
        transactional_id: The id.
        timeout_ms: The coordinator aborts a transaction of it after this.
        expected: Producer id and epoch to go on from, or ``NO_PRODUCER`` to fence every owner.
    """

    API_KEY = 22

    def __init__(self, transactional_id: str, timeout_ms: int, expected: tuple[int, int]) -> None:
        self._CLASSES = (
            InitProducerIdRequest_v0,
            InitProducerIdRequest_v3,
            InitProducerIdRequest_v4,
        )
        self._transactional_id = transactional_id
        self._timeout_ms = timeout_ms
        self._expected = expected

    def build(self, request_struct_class: type[Any]) -> Any:
        values = (self._transactional_id, self._timeout_ms)
        if request_struct_class is not InitProducerIdRequest_v0:
            return request_struct_class(*values, *self._expected, NO_TAGS)
        if self._expected != NO_PRODUCER:
            raise IncompatibleBrokerVersion("going on as a known producer takes Kafka 2.5")
        return request_struct_class(*values)


class DescribeTransactionsRequest(FlexibleRequest):
    def __init__(self, transactional_id: str) -> None:
        super().__init__(DescribeTransactionsRequest_v0, [transactional_id])
