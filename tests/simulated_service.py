"""A route in simulated time: a broker in memory, consumers that come and go, a counting model."""

import asyncio
import random
from collections import Counter

import orjson

from consumer.engine.bodies.store import BodyStore
from consumer.engine.engine import Engine
from consumer.engine.offsets.completion_map import decode
from consumer.loop.at_least_once import AtLeastOnce
from consumer.loop.consumer_loop import ConsumerLoop
from consumer.loop.exactly_once import ExactlyOnce
from consumer.loop.publishing import Publishing
from consumer.loop.settings import LoopSettings
from consumer.ports import Message, OffsetAndMetadata, TopicPartition
from consumer.replica.build import build_engine
from schemas.settings.file import RouteSettings
from tests.counting_model import CountingModel
from tests.memory.broker import MemoryBroker
from tests.memory.control import MemoryControlSource
from tests.memory.group import MemoryGroup
from tests.memory.sink import MemorySink
from tests.memory.source import MemorySource
from tests.memory.transactions import MemoryTransactionalSink
from tests.simulation import SimulatedClock

URL = "/v1/embeddings"
OWN_TOPICS = ("results", "dead-letters")
ROUTE = RouteSettings(
    model="counting",
    requests_topic="requests",
    results_topic="results",
    dead_letters_topic="dead-letters",
    group="g",
)


def request(custom_id: str, ms: float = 0) -> bytes:
    return orjson.dumps({"custom_id": custom_id, "url": URL, "body": {"ms": ms}})


def covers(point: OffsetAndMetadata | None, offset: int) -> bool:
    """Return whether a committed offset and its map say that ``offset`` is done."""
    if point is None:
        return False
    restored = decode(*point)
    if offset < point.offset or restored is None:
        return offset < point.offset
    return point.offset < offset <= restored.highest_completed and (
        offset not in restored.incomplete
    )


class SimulatedService:
    """One route, any number of consumers.

    Attributes:
        delivery: The delivery of routes that do not name one; tests run under both.
    """

    delivery = "at_least_once"

    def __init__(
        self,
        *,
        partitions: int = 4,
        model: CountingModel | None = None,
        route: RouteSettings = ROUTE,
        settings: LoopSettings | None = None,
    ) -> None:
        self.clock = SimulatedClock()
        self.broker = MemoryBroker(now_ms=self.clock.epoch_ms)
        for topic in ("requests", "results", "dead-letters"):
            self.broker.create_topic(topic, partitions)
        if route.control_topic is not None:
            self.broker.create_topic(route.control_topic, 1)
        self.store: BodyStore | None = None
        self.model = model or CountingModel()
        self.route = route.model_copy(update={"delivery": self.delivery})
        self.settings = settings or LoopSettings()
        self.members: list[ConsumerLoop] = []
        self.sources: dict[ConsumerLoop, MemorySource] = {}
        self.transactional_sinks: list[MemoryTransactionalSink] = []
        self.expected: dict[str, TopicPartition] = {}
        self._joined = 0

    @property
    def group(self) -> MemoryGroup:
        return self.broker.group("g", "requests")

    def publish(self, records: int, ms: float = 0, **headers: bytes) -> list[str]:
        ids = [f"r{len(self.expected) + number}" for number in range(records)]
        for custom_id in ids:
            self.expected[custom_id] = TopicPartition("requests", 0)
        pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
        self.broker.append(
            [Message("requests", each.encode(), request(each, ms), pairs) for each in ids]
        )
        return ids

    async def join(self, clock: SimulatedClock | None = None) -> ConsumerLoop:
        """Start a consumer, with a clock of its own if one is given."""
        member = self.make(clock)
        await member.start()
        self.members.append(member)
        return member

    def make(
        self, clock: SimulatedClock | None = None, earlier: Engine | None = None
    ) -> ConsumerLoop:
        """Make a consumer that has not started; ``earlier`` as for ``build_engine``."""
        self._joined += 1
        clock = clock or self.clock
        control_topic = self.route.control_topic
        source = MemorySource(self.broker, "requests", "g", rebalance_timeout_s=30.0)
        engine = build_engine(
            route_name="embeddings",
            route=self.route,
            urls=frozenset({URL}),
            consumer=f"consumer-{self._joined}",
            metadata_limit_characters=4096,
            jitter=random.Random(self._joined),
            earlier=earlier,
        )
        member = ConsumerLoop(
            engine=engine,
            source=source,
            publishing=self._publishing(engine, source),
            model=self.model,
            clock=clock,
            settings=self.settings,
            store=self.store,
            control=None
            if control_topic is None
            else MemoryControlSource(self.broker, control_topic),
        )
        self.sources[member] = source
        return member

    def _publishing(self, engine: Engine, source: MemorySource) -> Publishing:
        if self.route.delivery == "exactly_once":
            sink = MemoryTransactionalSink(self.broker, "g", transaction_s=0.02, topics=OWN_TOPICS)
            self.transactional_sinks.append(sink)
            return ExactlyOnce(
                engine=engine, source=source, sink=sink, clock=self.clock, settings=self.settings
            )
        return AtLeastOnce(
            engine=engine,
            source=source,
            sink=MemorySink(self.broker, OWN_TOPICS),
            clock=self.clock,
            settings=self.settings,
        )

    async def leave(self, member: ConsumerLoop) -> None:
        self.members.remove(member)
        await member.drain()

    async def crash(self, member: ConsumerLoop, session_timeout_s: float = 10.0) -> None:
        """Kill a consumer; the broker notices when its session is over."""
        self.members.remove(member)
        tasks = [*member._tasks, *member._calls]
        for task in tasks:
            task.cancel()
        await self.sources[member].crash()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(session_timeout_s)
        self.sources[member].expire()

    async def until_done(self, timeout_s: float = 600.0) -> None:
        """Wait until each published request has a result."""
        # To read all results takes long, and offsets also count transaction markers: only new
        # results can end the wait.
        counted = -1
        async with asyncio.timeout(timeout_s):
            while True:
                published = self.published_results()
                if counted < published >= len(self.expected):
                    if len(self.results()) >= len(self.expected):
                        return
                    counted = published
                for member in self.members:
                    member.check()
                await asyncio.sleep(0.05)

    async def close(self) -> None:
        for member in list(self.members):
            await self.leave(member)

    def published_results(self) -> int:
        """Return how many results are on the topic; cheap, to ask often."""
        logs = map(self.broker.log, self.broker.partitions("results"))
        return sum(log.end_offset for log in logs)

    def results(self) -> Counter[str]:
        """Return how often each request was answered."""
        return Counter(
            orjson.loads(record.value or b"")["custom_id"]
            for record in self.broker.records("results")
        )

    def check_commits(self) -> None:
        """Check that no committed offset or map covers a record without a published outcome."""
        answered = self.results()
        letters = {
            dict(record.headers)["headrace-source"]
            for record in self.broker.records("dead-letters")
        }
        for record in self.broker.records("requests"):
            if not covers(self.group.committed.get(record.partition), record.offset):
                continue
            if record.value is None:
                continue
            source = f"{record.partition.topic}/{record.partition.partition}/{record.offset}"
            if source.encode() in letters:
                continue
            assert orjson.loads(record.value)["custom_id"] in answered, record
