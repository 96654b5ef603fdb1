"""Reply topics of which some are still, silent or gone: the others go on."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from consumer.kafka.replies import directory, sender
from consumer.kafka.replies.sender import PATIENCE_S, ReplySender
from consumer.ports import Message, Rejection, SourceError, TopicPartition
from schemas.settings.file import KafkaSettings
from tests.simulation import simulate
from tests.unit.kafka.replies.fake_cluster import NO_LEADER, FakeCluster

FIRST, SECOND = 1, 2


class Listener:
    def __init__(self) -> None:
        self.acknowledgements: list[Message] = []
        self.rejections: list[Rejection] = []
        self.dropped_messages: list[Message] = []
        self.unwanted: set[bytes] = set()

    def is_wanted(self, message: Message) -> bool:
        return message.value not in self.unwanted

    def acknowledged(self, messages: Sequence[Message]) -> None:
        self.acknowledgements += messages

    def rejected(self, rejection: Rejection) -> None:
        self.rejections.append(rejection)

    def dropped(self, message: Message) -> None:
        self.dropped_messages.append(message)

    def failed(self, error: SourceError) -> None:
        raise AssertionError("the listener hears of it from the sink") from error


class Stage:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cluster = FakeCluster()
        monkeypatch.setattr(sender, "ClusterClient", self.cluster)
        self.listener = Listener()
        self.failures: list[SourceError] = []
        self.sent = 0

    def run(self, main: Callable[["Stage"], Coroutine[Any, Any, None]]) -> None:
        async def with_sender() -> None:
            self.sender = ReplySender(KafkaSettings(), self.listener, self.failures.append)
            try:
                await main(self)
            finally:
                await self.sender.stop()
            assert not self.failures

        simulate(with_sender())

    def send(self, topic: str, count: int = 1, key: bytes | None = None) -> list[bytes]:
        values = [b"%d" % n for n in range(self.sent, self.sent + count)]
        self.sent += count
        self.sender.send([Message(topic, key, value, []) for value in values])
        return values

    def taken(self, topic: str) -> list[bytes]:
        return [
            value
            for partition, values in self.cluster.taken.items()
            if partition.topic == topic
            for value in values
        ]

    async def settle(self, timeout_s: float = 60.0) -> None:
        """Wait until each message has ended."""
        async with asyncio.timeout(timeout_s):
            while len(self.ended()) < self.sent:
                await asyncio.sleep(0.05)

    def ended(self) -> list[Message]:
        listener = self.listener
        refused = [each.message for each in listener.rejections]
        return [*listener.acknowledgements, *refused, *listener.dropped_messages]


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


def test_messages_are_sent_in_order_and_acknowledged(stage: Stage) -> None:
    async def main(it: Stage) -> None:
        it.cluster.leaders_of = {"a": [FIRST], "b": [FIRST, SECOND]}
        first = it.send("a", 3000)
        it.send("b", 3000)
        first += it.send("a", 100)
        await it.settle()
        assert it.taken("a") == first
        assert len(it.taken("b")) == 3000
        assert not it.listener.rejections
        assert it.cluster.metadata_requests == 1, "a look-up for all that came together"

    stage.run(main)


def test_nothing_is_kept_of_a_topic_but_what_the_directory_remembers(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "MOST_TOPICS", 10)

    async def main(it: Stage) -> None:
        it.cluster.leaders_of = {f"t{n}": [FIRST, SECOND] for n in range(500)}
        for n in range(500):
            it.send(f"t{n}", 3)
            await asyncio.sleep(0.01)
        await it.settle()
        assert not it.listener.rejections
        assert len(it.cluster.asked_for) <= 10
        assert len(it.sender._directory.topics) <= 10
        assert len(it.sender._router._runs) <= 10
        kept = (it.sender._waiting, it.sender._sending, it.sender._lanes, it.sender._unplaced)
        assert not any(kept)
        assert not it.sender._failing_since_s

    stage.run(main)


def test_a_partition_without_a_leader_gives_its_messages_back_and_others_go_on(
    stage: Stage,
) -> None:
    async def main(it: Stage) -> None:
        it.cluster.leaders_of = {"still": [NO_LEADER], "half": [NO_LEADER, FIRST], "fine": [FIRST]}
        for _ in range(10):
            it.send("still", 10)
            it.send("half", 10)
            it.send("fine", 10)
            await asyncio.sleep(0.05)
        await it.settle(5.0)
        assert len(it.taken("fine")) == 100
        assert len(it.taken("half")) == 100, "without a key they go to the other partition"
        assert {each.message.topic for each in it.listener.rejections} == {"still"}
        assert all(each.is_passing for each in it.listener.rejections)
        assert "still/0 has no leader" in it.listener.rejections[0].reason
        it.cluster.leaders_of["still"] = [SECOND]
        await asyncio.sleep(1.0)
        it.send("still", 10)
        await it.settle(5.0)
        assert len(it.taken("still")) == 10, "its leader is looked for with each message"

    stage.run(main)


def test_a_broker_that_does_not_answer_delays_its_own_messages_only(stage: Stage) -> None:
    async def main(it: Stage) -> None:
        it.cluster.leaders_of = {"slow": [FIRST], "fine": [SECOND]}
        it.cluster.silent = {FIRST}
        it.send("slow", 10)
        for _ in range(100):
            it.send("fine", 10)
            await asyncio.sleep(0.01)
        assert len(it.taken("fine")) > 900
        await it.settle(PATIENCE_S + 1)
        assert len(it.listener.rejections) == 10
        assert all(each.is_passing for each in it.listener.rejections)
        it.cluster.silent = set()
        it.send("slow", 10)
        await it.settle(5.0)
        assert len(it.taken("slow")) == 10

    stage.run(main)


def test_a_leader_that_moves_costs_nothing(stage: Stage) -> None:
    async def main(it: Stage) -> None:
        it.cluster.leaders_of = {"a": [FIRST]}
        values = it.send("a", 10)
        await it.settle()
        it.cluster.leaders_of = {"a": [SECOND]}
        values += it.send("a", 10)
        await it.settle()
        assert it.taken("a") == values
        assert not it.listener.rejections

    stage.run(main)


@pytest.mark.parametrize("partitions_afterwards", [0, 1, 4])
def test_a_topic_that_goes_or_shrinks_or_grows_is_looked_up_again(
    stage: Stage, partitions_afterwards: int
) -> None:
    async def main(it: Stage) -> None:
        it.cluster.leaders_of = {"a": [FIRST, SECOND]}
        it.send("a", 200)
        await it.settle()
        it.cluster.leaders_of = {"a": [FIRST] * partitions_afterwards}
        if not partitions_afterwards:
            it.cluster.leaders_of = {}
        it.cluster.taken.clear()
        it.send("a", 200)
        await it.settle(5.0)
        if partitions_afterwards:
            assert len(it.taken("a")) == 200
            assert not it.listener.rejections
        else:
            assert len(it.listener.rejections) == 200
            assert all(each.is_missing for each in it.listener.rejections)

    stage.run(main)


def test_a_missing_topic_is_asked_for_now_and_then_only(stage: Stage) -> None:
    async def main(it: Stage) -> None:
        for _ in range(100):
            it.send("none")
            await asyncio.sleep(0.01)
        await it.settle()
        assert len(it.listener.rejections) == 100
        assert it.cluster.metadata_requests == 2, "twice, as one broker may not know it yet"
        assert it.cluster.asked_for == set(), "the client does not ask for it ever after"
        it.cluster.leaders_of = {"none": [FIRST]}
        assert await it.sender.find_missing(["none", "other"]) == {"other"}
        it.send("none")
        await it.settle()
        assert len(it.taken("none")) == 1

    stage.run(main)


def test_a_message_that_is_refused_is_found_among_its_neighbours(stage: Stage) -> None:
    async def main(it: Stage) -> None:
        it.cluster.leaders_of = {"a": [FIRST]}
        it.cluster.codes = lambda _partition, values: 87 if {b"13", b"70"} & {*values} else 0
        values = it.send("a", 100, key=b"k")
        await it.settle()
        assert [each.message.value for each in it.listener.rejections] == [b"13", b"70"]
        assert not any(each.is_passing for each in it.listener.rejections)
        assert it.taken("a") == [each for each in values if each not in {b"13", b"70"}]

    stage.run(main)


def test_a_topics_own_limit_is_known(stage: Stage) -> None:
    async def main(it: Stage) -> None:
        it.cluster.leaders_of = {"small": [FIRST], "large": [FIRST]}
        it.cluster.limits = {"small": 500, "large": 9_000_000}
        sizes = {"small": [600, 100], "large": [2_000_000, 100]}
        for topic, lengths in sizes.items():
            it.sender.send([Message(topic, b"k", b"x" * length, []) for length in lengths])
            it.sent += len(lengths)
        await it.settle()
        (rejection,) = it.listener.rejections
        assert rejection.is_too_large
        assert rejection.message.topic == "small"

    stage.run(main)


@pytest.mark.parametrize("code", [29, 17])
def test_a_forbidden_topic_is_refused_for_good(stage: Stage, code: int) -> None:
    async def main(it: Stage) -> None:
        it.cluster.leaders_of = {"mine": [FIRST], "theirs": [FIRST]}
        it.cluster.codes = lambda partition, _: code if partition.topic == "theirs" else 0
        it.send("theirs", 10)
        it.send("mine", 10)
        await it.settle()
        assert len(it.taken("mine")) == 10
        assert len(it.listener.rejections) == 10
        assert not any(each.is_passing or each.is_missing for each in it.listener.rejections)
        assert "grant it Write" in it.listener.rejections[0].reason
        requests = it.cluster.produce_requests
        it.send("theirs")
        await it.settle()
        assert it.cluster.produce_requests == requests, "it is known by now"

    stage.run(main)


def test_a_topic_that_may_not_be_seen_is_refused_and_not_missing(stage: Stage) -> None:
    async def main(it: Stage) -> None:
        it.cluster.leaders_of = {"theirs": [FIRST]}
        it.cluster.unauthorized = {"theirs"}
        it.send("theirs")
        await it.settle()
        assert not it.listener.rejections[0].is_missing
        assert await it.sender.find_missing(["theirs"]) == set()

    stage.run(main)


def test_without_a_broker_messages_are_given_back(stage: Stage) -> None:
    async def main(it: Stage) -> None:
        it.cluster.is_away = True
        it.send("a", 5)
        await it.settle(6.0)
        assert all(each.is_passing for each in it.listener.rejections)
        with pytest.raises(SourceError):
            await it.sender.find_missing(["a"])
        it.cluster.is_away = False
        it.cluster.leaders_of = {"a": [FIRST]}
        it.send("a", 5)
        await it.settle(6.0)
        assert len(it.taken("a")) == 5

    stage.run(main)


def test_what_nobody_wants_any_more_is_dropped(stage: Stage) -> None:
    async def main(it: Stage) -> None:
        it.cluster.leaders_of = {"a": [FIRST]}
        it.listener.unwanted = {b"1"}
        it.send("a", 3)
        await it.settle()
        assert it.taken("a") == [b"0", b"2"]
        assert [each.value for each in it.listener.dropped_messages] == [b"1"]

    stage.run(main)


def test_what_keeps_a_partition_still_is_said(stage: Stage) -> None:
    async def main(it: Stage) -> None:
        it.cluster.leaders_of = {"a": [FIRST]}
        it.cluster.codes = lambda *_: 19  # too few replicas in sync
        it.send("a", 3)
        await asyncio.sleep(2.0)
        assert not it.ended()
        it.cluster.seen["a"] = [NO_LEADER]
        assert it.sender.waits() == [
            "a/0 has no leader: bring back a broker that has a replica of it"
        ]
        await it.settle(PATIENCE_S + 2)
        assert it.listener.rejections[0].is_passing
        assert it.cluster.produce_requests < 40
        assert TopicPartition("a", 0) not in it.sender._failing_since_s

    stage.run(main)


def test_a_partition_whose_leader_moves_does_not_wait_for_the_old_ones_lane(stage: Stage) -> None:
    async def main(it: Stage) -> None:
        it.cluster.leaders_of = {"moves": [FIRST], "busy": [FIRST]}
        it.send("moves")
        await it.settle()
        it.cluster.leaders_of = {"moves": [SECOND], "busy": [FIRST]}
        it.send("moves")
        for _ in range(500):
            it.send("busy")
            await asyncio.sleep(0.005)
        assert len(it.taken("moves")) == 2, "though the first broker's lane never ran dry"

    stage.run(main)


def test_partitions_of_one_broker_take_turns_when_a_request_is_full(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "_MOST_REQUEST_BYTES", 1)

    async def main(it: Stage) -> None:
        names = [f"t{n}" for n in range(5)]
        it.cluster.leaders_of = {each: [FIRST] for each in names}
        for _ in range(200):
            for each in names:
                it.send(each)
            await asyncio.sleep(0.005)
        counts = [len(it.taken(each)) for each in names]
        assert min(counts) > 0.8 * max(counts), counts

    stage.run(main)


@pytest.mark.parametrize("end", ["unwanted", "refused", "forbidden", "gone"])
def test_nothing_is_kept_of_a_partition_that_failed_and_has_nothing_left(
    stage: Stage, end: str
) -> None:
    async def main(it: Stage) -> None:
        it.cluster.leaders_of = {"a": [FIRST]}
        it.cluster.codes = lambda _partition, values: 87 if len(values) > 1 else 19
        values = it.send("a", 4)
        await asyncio.sleep(1.0)
        assert it.sender._failing_since_s
        assert it.sender._most_records
        if end == "unwanted":
            it.listener.unwanted = set(values)
        elif end == "refused":
            it.cluster.codes = lambda *_: 87
        elif end == "forbidden":
            it.cluster.codes = lambda *_: 29
        else:
            it.cluster.leaders_of = {}
        await it.settle(5.0)
        assert not it.sender._failing_since_s, "otherwise it is said to wait for ever"
        assert not it.sender._most_records
        assert it.sender.waits() == []

    stage.run(main)


def test_a_partition_that_takes_nothing_delays_no_other_of_its_broker(stage: Stage) -> None:
    async def main(it: Stage) -> None:
        it.cluster.leaders_of = {"still": [FIRST], "fine": [FIRST]}
        it.cluster.codes = lambda partition, _: 19 if partition.topic == "still" else 0
        await it.sender.find_missing(["still", "fine"])
        it.send("still", 10)
        await asyncio.sleep(5.0)
        for _ in range(100):
            it.send("fine")
            await asyncio.sleep(0.03)
            assert len(it.taken("fine")) >= it.sent - 12
        await it.settle(PATIENCE_S)
        assert it.cluster.produce_requests < 150
        assert len(it.listener.rejections) == 10
        assert all(each.is_passing for each in it.listener.rejections)
        assert not it.sender._backoffs

    stage.run(main)
