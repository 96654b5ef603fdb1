"""Which producers have a transaction open in a partition (DescribeProducers 0, KIP-664)."""

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from aiokafka.protocol.types import Int16, Int32, Int64

from consumer.kafka.client.cluster_client import numbers_by_topic
from consumer.kafka.client.structs import (
    PARTITIONS_BY_TOPIC,
    TEXT,
    FlexibleRequest,
    array,
    request_struct,
    with_tags,
)
from consumer.ports import TopicPartition

DescribeProducersRequest_v0 = request_struct(
    61,
    0,
    (PARTITIONS_BY_TOPIC,),
    (
        ("throttle_time_ms", Int32),
        array(
            "topics",
            ("topic", TEXT),
            array(
                "partitions",
                ("partition", Int32),
                ("error_code", Int16),
                ("error_message", TEXT),
                array(
                    "producers",
                    ("producer_id", Int64),
                    ("producer_epoch", Int32),
                    ("last_sequence", Int32),
                    ("last_timestamp_ms", Int64),
                    ("coordinator_epoch", Int32),
                    ("open_since_offset", Int64),
                ),
            ),
        ),
    ),
)


class DescribeProducersRequest(FlexibleRequest):
    def __init__(self, partitions: Collection[TopicPartition]) -> None:
        super().__init__(DescribeProducersRequest_v0, with_tags(numbers_by_topic(partitions)))


class OpenProducer(NamedTuple):
    since_offset: int
    producer_id: int
    last_ms: int


def read_open_producers(
    response: Any,
) -> Iterator[tuple[TopicPartition, int, list[OpenProducer]]]:
    for topic, results, *_tags in response.topics:
        for number, code, _message, producers, *_more in results:
            open_there = [
                OpenProducer(since, producer_id, last_ms)
                for producer_id, _, _, last_ms, _, since, _tags in producers
                if since >= 0
            ]
            yield TopicPartition(topic, number), code, open_there
