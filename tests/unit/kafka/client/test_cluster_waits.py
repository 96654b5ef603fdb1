"""Topics that are gone and partitions without a leader, as a client's metadata has them."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.cluster import ClusterMetadata
from aiokafka.structs import TopicPartition as KafkaPartition

from consumer.engine.waiting.waits import no_leader, topic_gone
from consumer.kafka.client import internals
from consumer.kafka.client.cluster_client import cluster_waits
from consumer.ports import TopicPartition


class Cluster:
    leaders = {"requests": {0: 1, 1: -1}}  # noqa: RUF012 - of a stand-in

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(self.leaders[topic]) if topic in self.leaders else None

    def leader_for_partition(self, partition: TopicPartition) -> int | None:
        return self.leaders[partition.topic].get(partition.partition)


def test_each_is_told_once() -> None:
    places = [("requests", 1), ("requests", 0), ("gone", 1), ("gone", 0)]
    lines = cluster_waits(cast("ClusterMetadata", Cluster()), [TopicPartition(*p) for p in places])
    assert lines == [topic_gone("gone"), no_leader("requests", 1)]


@pytest.mark.parametrize(
    ("position", "lso", "highwater", "expected"),
    [
        pytest.param(12, 12, 5_012, (12, 5_000), id="behind an open transaction"),
        pytest.param(10, 12, 5_012, None, id="more to read before it"),
        pytest.param(12, 12, 12, None, id="at the end"),
        pytest.param(0, None, None, None, id="nothing was fetched"),
    ],
)
def test_an_open_transaction_shows_where_reading_cannot_go_on(
    position: int, lso: int | None, highwater: int | None, expected: tuple[int, int] | None
) -> None:
    state = SimpleNamespace(
        has_valid_position=True, position=position, lso=lso, highwater=highwater
    )
    assignment = SimpleNamespace(state_value=lambda _partition: state)
    subscription = SimpleNamespace(subscription=SimpleNamespace(assignment=assignment))
    consumer: Any = SimpleNamespace(_subscription=subscription)
    partition = KafkaPartition("requests", 2)
    assert internals.blocked(cast("AIOKafkaConsumer", consumer), partition) == expected
