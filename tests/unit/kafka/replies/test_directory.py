"""What a directory of reply topics says, and what it remembers."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from aiokafka import errors

from consumer.kafka.replies import directory
from consumer.kafka.replies.directory import ReplyDirectory, Verdict
from tests.simulation import simulate
from tests.unit.kafka.replies.fake_cluster import FakeCluster

MOST = 10


class Stage:
    def __init__(self) -> None:
        self.cluster = FakeCluster()

    def run(self, main: Callable[["Stage"], Coroutine[Any, Any, None]]) -> None:
        async def with_directory() -> None:
            self.directory = ReplyDirectory(self.cluster, lambda _topic: None)  # type: ignore[arg-type]
            await main(self)

        simulate(with_directory())


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(directory, "MOST_TOPICS", MOST)
    return Stage()


def test_more_topics_at_once_than_are_remembered_each_have_their_verdict(stage: Stage) -> None:
    async def main(it: Stage) -> None:
        there = [f"t{n}" for n in range(3 * MOST)]
        gone = [f"gone{n}" for n in range(3 * MOST)]
        it.cluster.leaders_of = {each: [1] for each in there}
        it.cluster.limits = {"t1": 500}
        await it.directory.find([*there[: MOST // 2], *gone[: MOST // 2]])
        found = await it.directory.find([*there, *gone])
        assert found == {
            **dict.fromkeys(there, Verdict.FOUND),
            **dict.fromkeys(gone, Verdict.MISSING),
        }
        assert it.directory.limits["t1"].max_message_bytes == 500, "they are about to be sent to"
        await it.directory.find(["t0"])
        assert len(it.directory.topics) <= MOST
        assert len(it.directory._absent) <= MOST
        assert it.cluster.asked_for == set(it.directory.topics)

    stage.run(main)


def test_a_topic_that_is_forgotten_while_others_are_asked_for_has_its_verdict(stage: Stage) -> None:
    async def main(it: Stage) -> None:
        it.cluster.leaders_of = {"a": [1], "b": [1]}
        await it.directory.find(["a"])
        finding = asyncio.create_task(it.directory.find(["a", "b"]))
        await asyncio.sleep(0.001)
        it.directory.forget("a")
        assert await finding == {"a": Verdict.FOUND, "b": Verdict.FOUND}

    stage.run(main)


def test_after_a_look_up_that_fails_the_client_asks_for_nothing_more(stage: Stage) -> None:
    async def main(it: Stage) -> None:
        it.cluster.leaders_of = {"known": [1]}
        await it.directory.find(["known"])
        it.cluster.is_away = True
        for n in range(5):
            with pytest.raises(errors.KafkaError):
                await it.directory.find(["known", f"t{n}"])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await it.directory.find(["slow"])
        assert it.cluster.asked_for == {"known"}

    stage.run(main)


def test_a_topic_that_one_broker_does_not_know_yet_is_not_missing(stage: Stage) -> None:
    async def main(it: Stage) -> None:
        finding = asyncio.create_task(it.directory.find(["new"]))
        await asyncio.sleep(0.05)
        it.cluster.leaders_of = {"new": [1]}
        assert await finding == {"new": Verdict.FOUND}

    stage.run(main)
