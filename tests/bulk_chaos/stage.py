"""What a bulk job needs: a broker, consumers and model replicas, each of which can be killed."""

import asyncio
import itertools
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from schemas.settings.file import KafkaSettings
from tests.chaos.stage.cluster import Cluster
from tests.chaos.stage.processes import Member, Model
from tests.chaos.stage.stage import (
    BROKER_METADATA_LIMIT_CHARACTERS,
    METADATA_LIMIT_CHARACTERS,
    PARTITIONS,
    Delivery,
    _create,
    make_route,
)

_RESPAWN_AFTER_S = 0.2
_START_PATIENCE_S = 60.0
_NAME = re.compile(r"(.+)/(\d+)-(\d+)(?:/(\d+))?")


class Name(NamedTuple):
    """A request by its ``custom_id``."""

    job: str
    first: int
    end: int
    attempt: int


def parse_name(custom_id: str) -> Name | None:
    match = _NAME.fullmatch(custom_id)
    if match is None:
        return None
    job, first, end, attempt = match.groups()
    return Name(job, int(first), int(end), int(attempt or 1))


@dataclass(frozen=True, slots=True)
class InFlight:
    """Offsets of the requests topic around a kill: committed before it, and the ends after it."""

    committed: dict[int, int]
    ends: dict[int, int]


class BulkStage:
    """A service for bulk jobs, on a broker of its own.

    Args:
        delivery: The route's.
        folder: For data and logs.
        request_ms: How long the model takes for a request.
    """

    def __init__(self, delivery: Delivery, folder: Path, request_ms: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.route = make_route(delivery)
        self.cluster = Cluster(folder / "kafka", 1, BROKER_METADATA_LIMIT_CHARACTERS)
        self.ledger = folder / "computed"
        replica = ("tests.bulk_chaos.replica", (str(self.ledger), str(request_ms)))
        self.models = [Model(f"model{number}", folder, *replica) for number in range(2)]
        self.members: list[Member] = []
        self.member_failures: list[str] = []
        self.is_cut_off = False
        self._names = itertools.count(1)
        self._keeping: asyncio.Task[None] | None = None

    @property
    def topics(self) -> tuple[str, str]:
        """Requests and results."""
        return self.route.requests_topic, self.route.results_topic

    async def start(self) -> None:
        self.ledger.touch()
        await self.cluster.start()
        admin = AIOKafkaAdminClient(bootstrap_servers=self.cluster.bootstrap)
        await admin.start()
        try:
            names = (*self.topics, self.route.dead_letters_topic)
            await _create(admin, [NewTopic(name, PARTITIONS, 1) for name in names])
        finally:
            await admin.close()
        for model in self.models:
            await model.start()
        for rank in range(2):
            await self._add_member(rank)
        self._keeping = asyncio.create_task(self._keep_members())
        async with asyncio.timeout(_START_PATIENCE_S):
            while sum(len(each.partitions) for each in self.members) < PARTITIONS:
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
        for model in self.models:
            await model.stop()
        for member in self.members:
            await member.kill()
        await self.cluster.stop()

    async def kill_consumer(self, victim: int) -> None:
        await self.members[victim % len(self.members)].kill()

    async def kill_model(self, victim: int) -> None:
        await self.models[victim % len(self.models)].kill()

    async def kill_broker(self, down_s: float) -> None:
        (node,) = self.cluster.nodes
        self.is_cut_off = True
        node.kill()
        await asyncio.sleep(down_s)
        await self.cluster.restart(node)
        self.is_cut_off = False

    async def committed(self) -> dict[int, int]:
        """The offsets that the route's group has committed."""
        return await _patiently(self._committed)

    async def ends(self) -> dict[int, int]:
        """The requests topic's ends."""
        return await _patiently(self._ends)

    async def _committed(self) -> dict[int, int]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.cluster.bootstrap)
        await admin.start()
        try:
            told = await admin.list_consumer_group_offsets(self.route.group)
        finally:
            await admin.close()
        requests = self.route.requests_topic
        return {each.partition: at.offset for each, at in told.items() if each.topic == requests}

    async def _ends(self) -> dict[int, int]:
        async with AIOKafkaConsumer(bootstrap_servers=self.cluster.bootstrap) as consumer:
            ends = await consumer.end_offsets(self._partitions())
        return {each.partition: end for each, end in ends.items()}

    async def requests(self) -> dict[tuple[int, int], Name]:
        """All requests of jobs that were ever published, by partition and offset."""
        found: dict[tuple[int, int], Name] = {}
        consumer = AIOKafkaConsumer(bootstrap_servers=self.cluster.bootstrap)
        async with consumer:
            partitions = self._partitions()
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            ends = await consumer.end_offsets(partitions)
            while any([await consumer.position(each) < ends[each] for each in partitions]):
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    for record in records:
                        name = parse_name(orjson.loads(record.value)["custom_id"])
                        if name is not None:
                            found[record.partition, record.offset] = name
        return found

    def computed(self) -> dict[str, Counter[int]]:
        """How often each item was computed, by job."""
        counts: dict[str, Counter[int]] = {}
        for line in self.ledger.read_text().splitlines():
            name = parse_name(line)
            if name is not None:
                counts.setdefault(name.job, Counter()).update(range(name.first, name.end))
        return counts

    def _partitions(self) -> list[TopicPartition]:
        requests = self.route.requests_topic
        return [TopicPartition(requests, partition) for partition in range(PARTITIONS)]

    async def _add_member(self, rank: int) -> None:
        member = Member(f"consumer{next(self._names)}", rank, self.folder)
        kafka = KafkaSettings(
            bootstrap=self.cluster.bootstrap,
            offset_metadata_max_bytes=METADATA_LIMIT_CHARACTERS,
        )
        config = {
            "kafka": kafka.model_dump(mode="json"),
            "route": self.route.model_dump(mode="json"),
            "model_ports": [model.port for model in self.models],
        }
        self.members.append(member)
        await member.start(config, None)

    async def _keep_members(self) -> None:
        while True:
            await asyncio.sleep(_RESPAWN_AFTER_S)
            for member in [each for each in self.members if each.has_ended]:
                reason = member.unforeseen_end(is_cut_off=self.is_cut_off)
                if reason is not None:
                    self.member_failures.append(f"{member.name}: {reason}")
                self.members.remove(member)
                await self._add_member(member.rank)


async def _patiently(ask: Callable[[], Awaitable[dict[int, int]]]) -> dict[int, int]:
    """Ask again while a broker or a coordinator is starting."""
    async with asyncio.timeout(_START_PATIENCE_S):
        while True:
            with suppress(KafkaError):
                return await ask()
            await asyncio.sleep(_RESPAWN_AFTER_S)


def items_in_flight(kills: list[InFlight], requests: dict[tuple[int, int], Name]) -> int:
    """Items of the requests that no consumer had committed at the kills, over all kills."""
    return sum(name.end - name.first for kill in kills for name in _uncommitted(kill, requests))


def _uncommitted(kill: InFlight, requests: dict[tuple[int, int], Name]) -> Iterator[Name]:
    for (partition, offset), name in requests.items():
        if kill.committed.get(partition, 0) <= offset < kill.ends.get(partition, 0):
            yield name
