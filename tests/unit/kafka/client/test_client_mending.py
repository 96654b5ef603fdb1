"""What ends aiokafka's client, or leaves it asking brokers that are gone."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, Never

import pytest
from aiokafka import errors
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.structs import BrokerMetadata
from aiokafka.structs import TopicPartition as KafkaPartition

from consumer.kafka.client import mending as client_mending
from consumer.kafka.client.mending import check_tasks
from consumer.kafka.source.fetching import Fetching
from consumer.ports import SourceError, TopicPartition
from headrace_client.kafka.mending import mend_client as mend

P = KafkaPartition("t", 0)


def client() -> AIOKafkaClient:
    return AIOKafkaClient(bootstrap_servers=["kafka.example:9092", "[::1]:9093"])


@pytest.mark.parametrize("error", [KeyError((1, 0)), OSError("gone")])
async def test_a_connection_that_goes_meanwhile_is_an_error_of_kafkas(error: Exception) -> None:
    made = client()

    async def fail(*_arguments: object, **_options: object) -> Never:
        raise error

    made.ready = fail
    mend(made)

    with pytest.raises(errors.KafkaConnectionError, match="broker 1"):
        await made.send(1, object())


@pytest.mark.parametrize("error", [KeyError((1, 0)), OSError("gone")])
async def test_nor_does_looking_for_one_end_who_looks(error: Exception) -> None:
    made = client()

    async def fail(*_arguments: object, **_options: object) -> Never:
        raise error

    made._get_conn = fail
    mend(made)

    assert await made.ready(1) is False


def moved(asked: list[list[str]], *, is_there: bool) -> Callable[..., Awaitable[bool]]:
    """Return an update that only the bootstrap servers can meet."""
    made = client()
    made.cluster._brokers = {1: BrokerMetadata(1, "old.example", 9092, None)}

    async def update(_metadata: object, _topics: object) -> bool:
        hosts = sorted(broker.host for broker in made.cluster.brokers())
        asked.append(hosts)
        if "old.example" in hosts or not is_there:
            return False
        made.cluster._brokers = {1: BrokerMetadata(1, "new.example", 9092, None)}
        return True

    made._metadata_update = update
    mend(made)

    async def ask() -> bool:
        found: bool = await made._metadata_update(made.cluster, set())
        asked.append([broker.host for broker in made.cluster.brokers()])
        return found

    return ask


async def test_where_all_brokers_have_moved_the_bootstrap_servers_are_asked() -> None:
    asked: list[list[str]] = []

    assert await moved(asked, is_there=True)()

    assert asked == [["old.example"], ["::1", "kafka.example"], ["new.example"]]


async def test_where_those_are_away_too_the_known_ones_stay_known() -> None:
    asked: list[list[str]] = []

    assert not await moved(asked, is_there=False)()

    assert asked == [["old.example"], ["::1", "kafka.example"], ["old.example"]]


async def idle() -> None:
    await asyncio.Event().wait()


async def test_a_poll_says_that_the_fetch_task_has_ended() -> None:
    subscription = SubscriptionState()
    subscription.subscribe({P.topic})
    subscription.assign_from_subscribed([P])
    subscription.seek(P, 5)

    class Client:
        _loop = asyncio.get_running_loop()
        _metadata_max_age_ms = 60_000
        cluster = SimpleNamespace(
            leader_for_partition=lambda _partition: 1, broker_metadata=lambda _node: object()
        )
        _sync_task = None

        async def send(self, node: int, _request: object) -> Never:
            raise KeyError((node, 0))

    fetcher = Fetcher(Client(), subscription)
    async with asyncio.timeout(5):
        await asyncio.wait([fetcher._fetch_task])
    consumer: Any = SimpleNamespace(
        _fetcher=fetcher, _client=fetcher._client, _subscription=subscription
    )

    with pytest.raises(SourceError, match="task that fetches records has ended"):
        await Fetching(consumer).fetch([TopicPartition(*P)], 10, 0.1)


async def test_so_it_does_of_the_metadata_task() -> None:
    fetching, asking = asyncio.create_task(idle()), asyncio.create_task(asyncio.sleep(0))
    await asking
    consumer: Any = SimpleNamespace(
        _fetcher=SimpleNamespace(_fetch_task=fetching), _client=SimpleNamespace(_sync_task=asking)
    )

    with pytest.raises(SourceError, match="asks for metadata"):
        check_tasks(consumer)
    fetching.cancel()


async def test_tasks_that_run_are_well() -> None:
    task = asyncio.create_task(idle())
    consumer: Any = SimpleNamespace(
        _fetcher=SimpleNamespace(_fetch_task=task), _client=SimpleNamespace(_sync_task=task)
    )

    client_mending.check_tasks(consumer)
    task.cancel()
