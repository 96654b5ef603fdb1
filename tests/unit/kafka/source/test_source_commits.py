"""What a source does with commits once something has failed; aiokafka is a stand-in here."""

from collections.abc import Collection, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import errors
from aiokafka.structs import TopicPartition as KafkaPartition

from consumer.kafka.client import internals
from consumer.kafka.group.session import Session
from consumer.kafka.source import committing, fetching
from consumer.kafka.source import source as source_module
from consumer.kafka.source.source import KafkaSource
from consumer.ports import CommitRefusedError, OffsetAndMetadata, SourceError, TopicPartition
from schemas.settings.file import KafkaSettings
from tests.simulated_service import ROUTE

P0 = TopicPartition("requests", 0)
POINTS = {P0: OffsetAndMetadata(10, "")}


class StandIn:
    """As much of aiokafka's consumer as commits and failures touch."""

    def __init__(self, **_options: Any) -> None:
        self._coordinator: Any = SimpleNamespace(generation=1)
        self._subscription = SimpleNamespace(subscription=None)
        self.fetch_error: Exception | None = None

    def subscribe(self, *_args: Any, **_options: Any) -> None: ...

    async def start(self) -> None: ...

    def partitions_for_topic(self, _topic: str) -> set[int]:
        return {0}

    async def getmany(self, *_args: Any, **_options: Any) -> dict[KafkaPartition, list[Any]]:
        if self.fetch_error is not None:
            raise self.fetch_error
        return {}


class KnownTopic:
    """A topic that is what it was."""

    log_id = b""

    def __init__(self, *_: Any) -> None: ...

    async def look(self) -> None: ...

    async def watch(self, _fail: Any) -> None: ...


class Listener:
    async def revoking(self) -> None: ...

    async def assigned(self, partitions: Collection[TopicPartition]) -> None: ...


class Broker:
    """What the brokers answer to offset commits, one after the other; then they take them."""

    def __init__(self, *answers: errors.KafkaError) -> None:
        self.answers = list(answers)
        self.commits = 0

    async def commit_once(
        self, _consumer: Any, _points: Mapping[TopicPartition, OffsetAndMetadata], _expected: int
    ) -> None:
        self.commits += 1
        if self.answers:
            raise self.answers.pop(0)


async def start_source(monkeypatch: pytest.MonkeyPatch, broker: Broker) -> KafkaSource:
    async def started(stand_in: StandIn, *_: Any) -> None:
        await stand_in.start()

    monkeypatch.setattr(source_module, "make_consumer", lambda *_: StandIn())
    monkeypatch.setattr(source_module, "start_within_reach", started)
    monkeypatch.setattr(source_module, "TopicIdentity", KnownTopic)
    monkeypatch.setattr(source_module, "warn_if_slow", lambda: None)
    monkeypatch.setattr(fetching, "check_tasks", lambda *_: None)
    monkeypatch.setattr(internals, "start_heartbeats", lambda _consumer: None)
    monkeypatch.setattr(internals, "begin_at_log_start", lambda *_: None)
    monkeypatch.setattr(Session, "watch", lambda *_: None)
    monkeypatch.setattr(internals, "commit_once", broker.commit_once)
    source = KafkaSource(KafkaSettings(bootstrap="127.0.0.1:9"), ROUTE)
    await source.start(Listener())
    await source.on_assigned([KafkaPartition(*P0)])
    return source


async def test_a_source_that_has_failed_commits_nothing_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = Broker()
    source = await start_source(monkeypatch, broker)
    await source.commit(POINTS)
    assert broker.commits == 1

    stand_in: Any = source._started().consumer
    stand_in.fetch_error = errors.TopicAuthorizationFailedError("requests")
    with pytest.raises(SourceError):
        await source.poll([P0], 1, 0)
    with pytest.raises(CommitRefusedError, match="failed"):
        await source.commit(POINTS)
    # Nor after a rebalance that goes well.
    await source.on_revoked()
    await source.on_assigned([KafkaPartition(*P0)])
    with pytest.raises(CommitRefusedError, match="failed"):
        await source.commit(POINTS)
    assert broker.commits == 1


async def test_a_commit_is_not_sent_again_until_a_deleted_topic_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = Broker(errors.UnknownTopicOrPartitionError())
    source = await start_source(monkeypatch, broker)
    with pytest.raises(SourceError, match="the topic is gone"):
        await source.commit(POINTS)
    with pytest.raises(CommitRefusedError, match="failed"):
        await source.commit(POINTS)
    assert broker.commits == 1


async def test_a_passing_failure_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committing, "_COMMIT_RETRY_S", 0.0)
    broker = Broker(errors.NotCoordinatorForGroupError(), errors.RequestTimedOutError())
    source = await start_source(monkeypatch, broker)
    await source.commit(POINTS)
    assert broker.commits == 3
