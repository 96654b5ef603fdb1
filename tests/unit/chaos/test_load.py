"""A load that is paused, or leaves partitions out, has no sends under way."""

import asyncio

import pytest

from consumer.kafka.sink.partitioning import partition_of_key
from tests.chaos.checks.checker import Checker
from tests.chaos.checks.promises import Promises
from tests.chaos.load import load as load_module
from tests.chaos.load.load import Load
from tests.chaos.load.records import Workload
from tests.simulation import simulate

PARTITIONS = 4
SEND_S = 5.0


class SlowProducer:
    """Takes a while to acknowledge."""

    def __init__(self, **_options: object) -> None:
        self.sent: list[int] = []
        self.under_way = 0

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def send(self, _topic: str, _value: bytes, key: bytes) -> asyncio.Task[None]:
        self.sent.append(partition_of_key(key, PARTITIONS))
        return asyncio.create_task(self._acknowledge())

    async def _acknowledge(self) -> None:
        self.under_way += 1
        await asyncio.sleep(SEND_S)
        self.under_way -= 1


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch) -> SlowProducer:
    producer = SlowProducer()
    monkeypatch.setattr(load_module, "AIOKafkaProducer", lambda **_: producer)
    return producer


def make_load() -> Load:
    return Load(
        "nowhere:1",
        "requests",
        PARTITIONS,
        Workload(1),
        Checker(Promises(exactly_once=True)),
        rate_per_s=100.0,
        most_unfinished=1_000,
    )


def test_nothing_is_under_way_once_it_is_paused(producer: SlowProducer) -> None:
    async def main() -> None:
        load = make_load()
        await load.start()
        await asyncio.sleep(1.0)
        assert producer.under_way
        await load.paused()
        assert not producer.under_way
        sent = len(producer.sent)
        await asyncio.sleep(10.0)
        assert len(producer.sent) == sent
        load.resume()
        await asyncio.sleep(1.0)
        assert len(producer.sent) > sent
        await load.stop()

    simulate(main())


def test_a_partition_that_is_left_out_gets_nothing(producer: SlowProducer) -> None:
    async def main() -> int:
        load = make_load()
        await load.start()
        await asyncio.sleep(1.0)
        await load.published_around([0])
        assert not producer.under_way
        before = len(producer.sent)
        await asyncio.sleep(20.0)
        await load.stop()
        return before

    before = simulate(main())
    assert 0 in producer.sent[:before]
    assert set(producer.sent[before:]) == {1, 2, 3}
