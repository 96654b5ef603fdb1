"""A cluster of two brokers whose topics come, go and stand still."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from types import SimpleNamespace
from typing import Any

from aiokafka import errors
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.memory_records import MemoryRecords

from consumer.ports import TopicPartition

NO_LEADER = -1


class FakeCluster:
    """In place of a ``ClusterClient``.

    Attributes:
        leaders_of: By topic, the leader of each partition, as it really is.
        seen: The same as the client's metadata has it.
        codes: Called with each batch's partition and values; returns an error code.
        silent: Brokers that do not answer.
        taken: Values by partition.
        asked_for: The topics of whose metadata the client asks.
    """

    def __init__(self) -> None:
        self.leaders_of: dict[str, list[int]] = {}
        self.seen: dict[str, list[int]] = {}
        self.codes: Callable[[TopicPartition, list[bytes]], int] = lambda *_: 0
        self.silent: set[int] = set()
        self.is_away = False
        self.limits: dict[str, int] = {}
        self.taken: defaultdict[TopicPartition, list[bytes]] = defaultdict(list)
        self.asked_for: set[str] = set()
        self.metadata_requests = 0
        self.produce_requests = 0
        self.unauthorized: set[str] = set()

    def __call__(self, *_settings: Any) -> "FakeCluster":
        return self

    @property
    def cluster(self) -> Any:
        return SimpleNamespace(
            partitions_for_topic=lambda topic: (
                set(range(len(self.seen[topic]))) if topic in self.seen else None
            ),
            leader_for_partition=lambda each: self._leader(TopicPartition(*each)),
            unauthorized_topics=self.unauthorized,
        )

    async def start(self, _topics: Collection[str]) -> None:
        self._check()

    async def close(self) -> None:
        pass

    async def find_topics(self, topics: Collection[str]) -> None:
        self.asked_for.update(topics)
        await self.learn_leaders()

    def forget_topics(self, topics: Collection[str]) -> None:
        self.asked_for.difference_update(topics)

    async def learn_leaders(self) -> None:
        self.metadata_requests += 1
        await asyncio.sleep(0.01)
        self._check()
        self.seen = {
            topic: list(self.leaders_of[topic])
            for topic in self.asked_for
            if topic in self.leaders_of and topic not in self.unauthorized
        }

    def is_leaderless(self, partition: TopicPartition) -> bool:
        return self._leader(partition) in {None, NO_LEADER}

    def leaders(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[int | None, list[TopicPartition]]:
        led: dict[int | None, list[TopicPartition]] = {}
        for each in partitions:
            leader = self._leader(each)
            led.setdefault(None if leader == NO_LEADER else leader, []).append(each)
        return led

    async def ask_any(self, request: Any) -> Any:
        self._check()
        resources = [
            (0, "", 2, name, [("max.message.bytes", str(self.limits[name]))])
            for _kind, name, _settings in request._resources
            if name in self.limits
        ]
        return SimpleNamespace(resources=resources)

    async def ask_broker(self, broker: int, request: ProduceRequest) -> Any:
        self.produce_requests += 1
        if broker in self.silent or self.is_away:
            await asyncio.sleep(10.0)
            raise errors.RequestTimedOutError
        await asyncio.sleep(0.01)
        return SimpleNamespace(
            topics=[
                (topic, [(number, self._take(broker, topic, number, data)) for number, data in of])
                for topic, of in request._topics
            ]
        )

    def _take(self, broker: int, topic: str, number: int, data: bytes) -> int:
        partition = TopicPartition(topic, number)
        leaders = self.leaders_of.get(topic, [])
        if number >= len(leaders):
            return 3
        if leaders[number] != broker:
            return 6
        records = MemoryRecords(data)
        values = [record.value for record in records.next_batch()]
        code = self.codes(partition, values)
        if not code:
            self.taken[partition] += values
        return code

    def _leader(self, partition: TopicPartition) -> int | None:
        leaders = self.seen.get(partition.topic)
        if leaders is None or partition.partition >= len(leaders):
            return None
        return leaders[partition.partition]

    def _check(self) -> None:
        if self.is_away:
            raise errors.KafkaConnectionError("away")
