"""Requests that produce batches over a client of our own, and what their answers say."""

from collections.abc import Iterable
from typing import Any

from aiokafka.protocol.produce import ProduceRequest

from consumer.ports import TopicPartition

_ALL_REPLICAS = -1


def produce_request(
    transactional_id: str | None, timeout_ms: int, batches: Iterable[tuple[TopicPartition, bytes]]
) -> ProduceRequest:
    """Return a request for one encoded batch a partition, which all in-sync replicas must have."""
    by_topic: dict[str, list[tuple[int, bytes]]] = {}
    for (topic, number), encoded in batches:
        by_topic.setdefault(topic, []).append((number, encoded))
    return ProduceRequest(transactional_id, _ALL_REPLICAS, timeout_ms, list(by_topic.items()))


def produced_codes(response: Any) -> dict[TopicPartition, int]:
    return {
        TopicPartition(topic, number): code
        for topic, results in response.topics
        for number, code, *_rest in results
    }
