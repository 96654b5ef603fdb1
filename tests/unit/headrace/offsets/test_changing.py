"""Changing a group's offsets, on a broker that is faked: what is committed, and in which order."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, Self

import pytest

from consumer.engine.offsets.progress import Progress
from consumer.kafka.admin.group_offsets import GroupState
from consumer.ports import Lag, OffsetAndMetadata, SourceError, TopicPartition
from headrace.errors import UserError
from headrace.offsets import changing as changing_module
from headrace.offsets import edits
from headrace.offsets.changing import Changing
from headrace.offsets.edits import Edit, Log, Target
from schemas.settings.file import KafkaSettings, RouteSettings

PARTITIONS = 3
LOG_START, LOG_END = 10, 100


class Broker:
    """What the group has committed; ``commits`` has each commit's partitions and offsets."""

    def __init__(self) -> None:
        self.points: dict[TopicPartition, OffsetAndMetadata] = {}
        self.commits: list[dict[int, int]] = []

    async def state(self) -> GroupState:
        return GroupState("Empty", [])

    async def undecided(self, _partitions: Collection[int]) -> bool:
        return False

    async def log_id(self) -> bytes:
        return b"ours"

    async def commit(self, points: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        self.commits.append({each.partition: point.offset for each, point in points.items()})
        self.points.update(points)

    # What follows is of ``GroupLags``.
    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc_info: object) -> None: ...

    async def read(self, _group: str, topic: str) -> dict[TopicPartition, Lag]:
        places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        return {each: Lag(LOG_START, LOG_END, self.points.get(each), LOG_END) for each in places}


class Sink:
    """Commits to the broker as transactions do."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def take_over(self, _partitions: Collection[TopicPartition]) -> None: ...

    async def publish(
        self, partition: TopicPartition, _messages: Any, point: OffsetAndMetadata
    ) -> list[Any]:
        await self._broker.commit({partition: point})
        return []


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    made = Broker()
    monkeypatch.setattr(changing_module, "GroupLags", lambda _kafka: made)
    monkeypatch.setattr(changing_module, "KafkaTransactionalSink", lambda *_: Sink(made))
    return made


def changing_of(broker: Broker, delivery: str, start_from: str) -> Changing:
    route = RouteSettings.model_validate(
        {
            "model": "m",
            "group": "g",
            "requests_topic": "in",
            "results_topic": "out",
            "dead_letters_topic": "dead",
            "delivery": delivery,
            "start_from": start_from,
        }
    )
    offsets: Any = broker
    return Changing(KafkaSettings(bootstrap="localhost:9092"), "r", route, offsets)


def seek_to(offset: int, *partitions: int) -> Any:
    def plan(log: Log) -> list[Edit]:
        return edits.seek(log, Target(offset=offset), partitions, {})

    return plan


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_a_group_that_starts_from_latest_begins_everywhere_before_an_edit_of_one_partition(
    broker: Broker, delivery: str
) -> None:
    changing = changing_of(broker, delivery, "latest")
    asyncio.run(changing.commit(seek_to(50, 0), [0]))

    assert broker.commits == [{0: LOG_END, 1: LOG_END, 2: LOG_END}, {0: 50}]
    # The id keeps what is committed from fitting a topic that is created again.
    assert all(Progress.of(point).log_id == b"ours" for point in broker.points.values())

    asyncio.run(changing.commit(seek_to(60, 0), [0]))
    assert broker.commits[2:] == [{0: 60}]


def test_an_edit_that_is_refused_leaves_a_group_as_it_has_not_begun(broker: Broker) -> None:
    changing = changing_of(broker, "at_least_once", "latest")
    with pytest.raises(UserError, match="is not between"):
        asyncio.run(changing.commit(seek_to(500, 0), [0]))

    assert broker.commits == []


def test_a_group_that_starts_from_earliest_commits_what_is_edited_alone(broker: Broker) -> None:
    asyncio.run(changing_of(broker, "at_least_once", "earliest").commit(seek_to(50, 0), [0]))

    assert broker.commits == [{0: 50}]


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_a_change_that_fails_in_the_middle_says_what_is_changed(
    broker: Broker, delivery: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = broker.commit

    async def commit(points: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        for each, point in points.items():
            if each.partition == 1:
                raise SourceError("Kafka did not answer")
            await made({each: point})

    monkeypatch.setattr(broker, "commit", commit)
    changing = changing_of(broker, delivery, "earliest")
    with pytest.raises(
        SourceError, match=r"did not answer\. Changed already: partitions 0"
    ) as caught:
        asyncio.run(changing.commit(seek_to(50, 0, 1, 2), [0, 1, 2]))

    # Transactions are each partition's own, and all come to their end.
    changed = 1 if delivery == "at_least_once" else 2
    assert f"{changed} of 3; name the others" in str(caught.value)
    assert len(broker.points) == changed
