"""One output partition that takes nothing holds up its own messages, and nobody else's."""

import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, cast

import pytest
from aiokafka import errors

from consumer.engine.engine import Engine
from consumer.engine.work import WorkItem
from consumer.kafka.sink import partition_writer as lane
from consumer.kafka.sink.partitioning import partition_of_key
from consumer.kafka.sink.producer_slot import ProducerSlot
from consumer.kafka.sink.sink import KafkaSink
from consumer.loop.at_least_once import AtLeastOnce
from consumer.loop.settings import LoopSettings
from consumer.ports import Message, OffsetAndMetadata, RecordSource, TopicPartition
from schemas.settings.file import KafkaSettings
from tests.engines import P0, P1, answer, make_engine, record
from tests.publishing import Awaited, AwaitedListener
from tests.simulation import EPOCH_MS, SimulatedClock, simulate

STUCK, HEALTHY = 0, 1
STUCK_KEY, HEALTHY_KEY = (
    next(k for n in range(99) if partition_of_key(k := b"%d" % n, 2) == partition)
    for partition in (STUCK, HEALTHY)
)


class Builder:
    def __init__(self) -> None:
        self.messages: list[Message] = []

    def append(self, *, timestamp: None, key: bytes, value: bytes, headers: Any) -> bool | None:
        if len(self.messages) == 100:
            return None
        self.messages.append(Message("results", key, value, headers))
        return True

    def size(self) -> int:
        return 100 * len(self.messages)


class Producer:
    """Takes what goes to one of two partitions; the other has no leader, until it is found."""

    def __init__(self) -> None:
        self.taken: dict[int, list[Message]] = {STUCK: [], HEALTHY: []}
        self.held: list[tuple[asyncio.Future[None], Builder]] = []
        self.is_led = False

    async def partitions_for(self, _topic: str) -> set[int]:
        return {STUCK, HEALTHY}

    def create_batch(self) -> Builder:
        return Builder()

    async def send_batch(
        self, builder: Builder, _topic: str, *, partition: int
    ) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if partition == STUCK and not self.is_led:
            self.held.append((future, builder))
        else:
            self.taken[partition] += builder.messages
            future.set_result(None)
        return future

    def give_up(self) -> None:
        """Fail what is held, as aiokafka does when a batch has no leader for long."""
        for future, _ in self.held:
            if not future.done():
                future.set_exception(errors.LeaderNotAvailableError())
        self.held.clear()

    def find_leader(self) -> None:
        self.is_led = True
        for future, builder in self.held:
            if not future.done():
                self.taken[STUCK] += builder.messages
                future.set_result(None)


class Slot:
    max_batch_bytes = 512 * 1024

    def __init__(self, producer: Producer) -> None:
        self.producer = producer

    async def get(self) -> Producer:
        return self.producer

    def retire(self, _producer: Producer) -> None:
        pass

    async def stop(self) -> None:
        pass


def sink_on(producer: Producer) -> KafkaSink:
    sink = KafkaSink(KafkaSettings(), ("results", "dead-letters"))
    sink._slot = cast("ProducerSlot", Slot(producer))
    return sink


class Source:
    async def commit(self, _points: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        pass


class Publishing:
    """An engine whose outcomes go to a producer."""

    def __init__(self) -> None:
        self.engine: Engine = make_engine(max_records=100_000)
        self.engine.assign({P0: None, P1: None})
        windows = self.engine.calls.windows
        windows.heard(windows.sent(0), "replica-1", 1 << 20, 0.0)
        self.producer = Producer()
        sink = sink_on(self.producer)
        self.publishing = AtLeastOnce(
            engine=self.engine,
            source=cast("RecordSource", None),
            sink=sink,
            clock=SimulatedClock(),
            settings=LoopSettings(publish_records=64),
        )
        sink._listener = self.publishing
        self.tasks = [asyncio.create_task(loop) for loop in self.publishing.loops(lambda: None)]
        self.offset = 0

    async def run(self, steps: int, key: Callable[[int], bytes | None]) -> None:
        for _ in range(steps):
            offsets = range(self.offset, self.offset + 64)
            self.engine.deliver([record(n, key=key(n)) for n in offsets], 0.0, EPOCH_MS)
            self.offset += 64
            while (got := self.engine.next_call(0.0, EPOCH_MS)) is not None:
                answer(*got, self.engine)
            self.publishing.wake()
            await asyncio.sleep(0.001)

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def run(main: Callable[[Publishing], Coroutine[Any, Any, None]]) -> None:
    async def with_publishing() -> None:
        publishing = Publishing()
        try:
            await main(publishing)
        finally:
            await publishing.close()

    simulate(with_publishing())


def test_messages_without_a_key_go_round_a_partition_that_takes_nothing() -> None:
    async def main(it: Publishing) -> None:
        await it.run(40, key=lambda _: None)
        healthy = len(it.producer.taken[HEALTHY])
        assert healthy >= 2560 - 5 * 64, "the rest waits in the partition that takes nothing"
        assert it.engine.counters.completed_records == healthy
        assert not it.engine.has_publications

    run(main)


def test_messages_with_a_key_wait_for_their_own_partition_only() -> None:
    async def main(it: Publishing) -> None:
        await it.run(40, key=lambda n: STUCK_KEY if n % 64 == 0 else HEALTHY_KEY)
        assert len(it.producer.taken[HEALTHY]) == 2560 - 40
        assert it.engine.counters.completed_records == 2560 - 40
        it.producer.find_leader()
        await asyncio.sleep(0.01)
        assert it.engine.counters.completed_records == 2560
        for taken in it.producer.taken.values():
            found = [dict(m.headers)["headrace-source"] or b"" for m in taken]
            sources = [int(each.split(b"/")[2]) for each in found]
            assert sources == sorted(sources)

    run(main)


def test_a_flush_waits_for_the_partition_that_takes_nothing() -> None:
    async def main(it: Publishing) -> None:
        await it.run(1, key=lambda n: STUCK_KEY if n == 0 else HEALTHY_KEY)
        it.engine.suspend()
        flushing = asyncio.create_task(it.publishing.flush())
        await asyncio.sleep(60)
        assert not flushing.done()
        flushing.cancel()
        await asyncio.gather(flushing, return_exceptions=True)

    run(main)


def test_what_was_stuck_goes_elsewhere_if_it_has_no_key_and_keeps_its_place_if_it_has() -> None:
    async def main(it: Publishing) -> None:
        await it.run(12, key=lambda n: STUCK_KEY if n % 64 == 5 else None)
        assert it.engine.counters.completed_records < 12 * 64 - 12
        it.producer.give_up()
        await asyncio.sleep(0.05)
        assert len(it.producer.taken[HEALTHY]) == 12 * 64 - 12
        it.producer.find_leader()
        await asyncio.sleep(10)
        assert [m.key for m in it.producer.taken[STUCK]] == [STUCK_KEY] * 12
        assert it.engine.counters.completed_records == 12 * 64
        ids = Counter(m.value for taken in it.producer.taken.values() for m in taken)
        assert set(ids.values()) == {1}

    run(main)


def test_a_partition_that_took_nothing_is_given_one_run_to_show_that_it_does() -> None:
    async def main(it: Publishing) -> None:
        await it.run(2, key=lambda n: STUCK_KEY if n == 0 else None)
        it.producer.give_up()
        await asyncio.sleep(0.05)
        before = it.engine.counters.completed_records
        await it.run(10, key=lambda _: None)
        assert it.engine.counters.completed_records == before + 10 * 64
        it.producer.find_leader()
        await asyncio.sleep(10)
        await it.run(10, key=lambda _: None)
        assert len(it.producer.taken[STUCK]) == 1 + 5 * 64

    run(main)


@pytest.mark.parametrize("fails", [True, False])
def test_what_waits_for_a_partition_is_dropped_when_its_record_is_anothers(
    monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """A batch that aiokafka still holds then is given up, too."""

    async def main(it: Publishing) -> None:
        await it.run(3, key=lambda _: STUCK_KEY)
        assert it.engine.held_records == 3 * 64
        it.engine.suspend()
        it.engine.hold_publications()
        it.engine.assign({P1: None})
        if fails:
            it.producer.give_up()
        await asyncio.sleep(2 * lane._LOOK_S)
        assert it.engine.held_records == 0
        assert it.engine.held_bytes == 0
        it.producer.find_leader()
        await asyncio.sleep(60)
        assert it.producer.taken[STUCK] == []
        await it.publishing.flush()

    run(main)


def test_one_stuck_message_keeps_no_others_payload() -> None:
    async def main(it: Publishing) -> None:
        await it.run(1, key=lambda n: STUCK_KEY if n == 0 else HEALTHY_KEY)
        assert it.engine.held_records == 1
        ours = it.engine._assigned.get(P0)
        # Not isinstance: it asks lazy modules of others for a class, which import and warn.
        items = [each for each in gc.get_objects() if type(each) is WorkItem]
        items = [each for each in items if each.assignment is ours and each.record.value]
        assert [each.record.offset for each in items] == [0]

    run(main)


def test_a_sink_that_ends_tells_everyone_who_waits() -> None:
    async def main() -> None:
        producer = Producer()
        sink = sink_on(producer)
        listener = AwaitedListener()
        sink._listener = listener
        waiting = [Awaited([Message("results", STUCK_KEY, b"v", [])]) for _ in range(2)]
        for each in waiting:
            listener.add(each)
            await sink.send(each.messages)
        await asyncio.sleep(0.01)
        await sink.stop()
        results = await asyncio.gather(*(each.done for each in waiting), return_exceptions=True)
        assert [str(each) for each in results] == [
            "publishing to results, dead-letters: the sink was stopped"
        ] * 2

    simulate(main())
