"""What is handed out where a rebalance begins while a fetch is disposed of."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import errors
from aiokafka.structs import TopicPartition as KafkaPartition

from consumer.kafka.source import fetching
from consumer.kafka.source.fetching import Fetching
from consumer.ports import TopicPartition
from tests.simulation import simulate

P0 = TopicPartition("requests", 0)
KEY = KafkaPartition(*P0)


class StandIn:
    """As much of aiokafka's consumer as a fetch touches; retention has deleted what is next."""

    def __init__(self) -> None:
        self._coordinator = None
        self.state = SimpleNamespace(has_valid_position=True, position=5)
        assignment = SimpleNamespace(state_value=lambda _partition: self.state)
        self._subscription = SimpleNamespace(
            subscription=SimpleNamespace(assignment=assignment), _fetch_count=0
        )
        self._fetcher = SimpleNamespace(_records={})
        self.fetched: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.log_start: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.fetches = 0

    def assignment(self) -> set[KafkaPartition]:
        return {KEY}

    def seek(self, _partition: KafkaPartition, offset: int) -> None:
        self.state.position = offset

    async def getmany(self, *_partitions: Any, timeout_ms: float, **_options: Any) -> Any:
        self.fetches += 1
        return await self.fetched if timeout_ms else {}

    async def beginning_offsets(self, _partitions: Any) -> dict[KafkaPartition, int]:
        return {KEY: await self.log_start}


def test_nothing_is_fetched_where_a_rebalance_begins_while_the_logs_start_is_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fetching, "check_tasks", lambda _consumer: None)

    async def main() -> None:
        stand_in: Any = StandIn()
        it = Fetching(stand_in)
        it.go_on()
        left_behind = asyncio.create_task(it.fetch([P0], 10, 10.0))
        await asyncio.sleep(0.1)
        it.suspend()
        assert await left_behind == {}
        it.go_on()
        stand_in.fetched.set_exception(errors.OffsetOutOfRangeError({KEY: 5}))
        fetches = stand_in.fetches

        disposing = asyncio.create_task(it.fetch([P0], 10, 1.0))
        await asyncio.sleep(0.1)
        it.suspend()
        stand_in.log_start.set_result(7)

        assert await disposing == {}
        assert it.expired == {P0: 7}
        assert stand_in.fetches == fetches

    simulate(main())
