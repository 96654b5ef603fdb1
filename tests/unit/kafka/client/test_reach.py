"""Brokers that are named, and cannot be reached."""

import asyncio
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, Never

import pytest
from aiokafka import errors
from aiokafka.structs import BrokerMetadata

from consumer.kafka.client.reach import within_reach
from consumer.ports import SourceError
from headrace_client.kafka import reach
from headrace_client.kafka.reach import contact
from tests.simulation import simulate


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def client(*ports: int) -> Any:
    brokers = {BrokerMetadata(port, "127.0.0.1", port, None) for port in ports}
    return SimpleNamespace(cluster=SimpleNamespace(brokers=lambda: brokers))


async def hang() -> None:
    await asyncio.Event().wait()


async def fail() -> Never:
    raise errors.UnknownTopicOrPartitionError


async def test_a_start_that_hangs_names_the_listener_that_cannot_be_reached(
    closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "_LONG_S", 0.05)

    with pytest.raises(SourceError, match=rf"127.0.0.1:{closed_port}.*advertised.listeners"):
        await asyncio.wait_for(within_reach(hang(), client(closed_port), "reading"), 20)


async def test_so_does_one_that_fails_before(closed_port: int) -> None:
    with pytest.raises(SourceError, match=rf"reading: .*127.0.0.1:{closed_port}"):
        await within_reach(fail(), client(closed_port), "reading")


async def test_where_a_broker_can_be_reached_the_start_says_itself_what_it_lacks(
    listening: int, closed_port: int
) -> None:
    with pytest.raises(errors.UnknownTopicOrPartitionError):
        await within_reach(fail(), client(listening, closed_port), "reading")


async def test_a_slow_start_on_a_cluster_in_reach_is_waited_for(
    listening: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "_LONG_S", 0.01)
    started = asyncio.Event()

    async def start() -> None:
        await asyncio.sleep(0.1)
        started.set()

    await within_reach(start(), client(listening), "reading")

    assert started.is_set()


def test_one_broker_in_contact_is_enough() -> None:
    brokers = [BrokerMetadata(number, "kafka", 9092, None) for number in range(3)]

    async def ready(node_id: int) -> bool:
        if node_id == 1:
            await hang()
        return node_id == 2

    made: Any = SimpleNamespace(cluster=SimpleNamespace(brokers=lambda: brokers), ready=ready)
    simulate(contact(made))

    brokers.pop()
    with pytest.raises(errors.KafkaConnectionError):
        simulate(contact(made))
