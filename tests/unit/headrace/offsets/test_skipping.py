"""A skip ends with one dead letter, whatever its reply topic does; the brokers are in memory."""

import asyncio
import random
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from consumer.kafka.admin.group_offsets import GroupNotEmptyError
from consumer.ports import Lag, OffsetAndMetadata, Record, TopicPartition
from consumer.replica.build import build_engine
from headrace.errors import UserError
from headrace.offsets import skipping
from headrace.offsets.edits import Log
from tests.memory.broker import MemoryBroker
from tests.memory.sink import MemorySink
from tests.simulated_service import OWN_TOPICS, ROUTE, URL, request

PLACE = TopicPartition("requests", 0)
REPLIES = "bulk-1"


class Group:
    """The ``Changing`` of a group without members, unless some come."""

    def __init__(self) -> None:
        self.committed: list[int] = []
        self.has_members = False
        self.offsets = self

    async def check_empty(self) -> None: ...

    async def check_decided(self, _partitions: Any) -> None: ...

    async def log(self) -> Log:
        lag = Lag(0, 10, OffsetAndMetadata(5, ""), 10)
        return Log(lags={PLACE: lag}, begins_at_end=False, log_id=b"", limit_characters=4096)

    async def commit(self, points: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        if self.has_members:
            raise GroupNotEmptyError("g")
        self.committed += [point.offset for point in points.values()]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> MemoryBroker:
    made = MemoryBroker()
    for topic in (*OWN_TOPICS, REPLIES):
        made.create_topic(topic, 1)
    headers = [("headrace-reply-topic", REPLIES.encode())]
    record = Record(PLACE, 5, b"k", request("k", 1.0), headers, 1_800_000_000_000)

    async def read_record(*_: Any) -> Record:
        return record

    def engine_of(_settings: Any, name: str, route: Any) -> Any:
        return build_engine(
            route_name=name,
            route=route,
            urls=frozenset({URL}),
            consumer="skip",
            metadata_limit_characters=4096,
            jitter=random.Random(1),
        )

    monkeypatch.setattr(skipping, "read_record", read_record)
    monkeypatch.setattr(skipping, "_engine_of", engine_of)
    monkeypatch.setattr(skipping, "KafkaSink", lambda *_: MemorySink(made, OWN_TOPICS))
    return made


def skip(group: Group) -> skipping.Skipped:
    route = ROUTE.model_copy(update={"reply_topics": ("bulk-*",), "fail_with_result": True})
    settings: Any = SimpleNamespace(routes={"r": route}, results_cluster=None)
    changing: Any = group
    return asyncio.run(skipping.skip_record(changing, settings, "r", 0, 5, "by hand"))


def test_a_reply_topic_that_takes_nothing_does_not_hold_up_a_skip(broker: MemoryBroker) -> None:
    broker.stand_still(REPLIES)
    group = Group()
    skipped = skip(group)

    assert skipped.outcome == "skipped_by_operator"
    assert group.committed == [6]
    letters = broker.records("dead-letters")
    codes = [dict(each.headers)["headrace-error-code"] for each in letters]
    assert codes == [b"skipped_by_operator"]


def test_a_reply_topic_that_takes_its_result_gets_it(broker: MemoryBroker) -> None:
    group = Group()
    skip(group)

    assert group.committed == [6]
    assert len(broker.records(REPLIES)) == len(broker.records("dead-letters")) == 1


def test_a_consumer_that_comes_meanwhile_is_named_as_the_reason(broker: MemoryBroker) -> None:
    group = Group()
    group.has_members = True
    with pytest.raises(UserError, match="a consumer of r came meanwhile"):
        skip(group)
    assert len(broker.records("dead-letters")) == 1
