"""Which transactions partitions hold open: how often leaders are asked, what they may refuse."""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import errors

from consumer.kafka.client.producers import DescribeProducersRequest, DescribeProducersRequest_v0
from consumer.kafka.replies.directory import ReplyDirectory
from consumer.kafka.transactions import open_transactions
from consumer.kafka.transactions.open_transactions import OpenTransactions
from consumer.kafka.transactions.sink import KafkaTransactionalSink, _Connected
from consumer.ports import TopicPartition
from schemas.settings.file import KafkaSettings
from tests.simulated_service import ROUTE
from tests.simulation import simulate

OURS, OTHERS = 7, 8
ENDED = -1


class FakeCluster:
    """Leads "results" by two brokers, partition n by broker n."""

    def __init__(self) -> None:
        self.open_since = {
            TopicPartition("results", 0): {OURS: 40, OTHERS: ENDED},
            TopicPartition("results", 1): {OURS: ENDED, OTHERS: 3},
        }
        self.codes: dict[TopicPartition, list[int]] = {}
        self.leaders_known: dict[TopicPartition, int | None] = {}
        self.leaders_to_learn: list[dict[TopicPartition, int | None]] = []
        self.followers: set[int] = set()
        self.failures: list[Exception] = []
        self.asked = 0
        self.replies: dict[TopicPartition, int | None] = {}
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def partitions(self, topic: str) -> list[int]:
        assert topic == "results"
        return [0, 1]

    def leaders(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[int | None, list[TopicPartition]]:
        led: dict[int | None, list[TopicPartition]] = {}
        for each in partitions:
            leader = self.leaders_known.get(each, each.partition)
            led.setdefault(leader, []).append(each)
        return led

    async def list_leaders(
        self, is_wanted: Callable[[str], bool]
    ) -> dict[TopicPartition, int | None]:
        return {each: leader for each, leader in self.replies.items() if is_wanted(each.topic)}

    async def learn_leaders(self) -> None:
        self.leaders_known = self.leaders_to_learn.pop() if self.leaders_to_learn else {}

    async def ask_broker(self, broker: int, request: DescribeProducersRequest) -> Any:
        self.asked += 1
        if self.failures:
            raise self.failures.pop()
        struct = request.build(DescribeProducersRequest_v0)
        topics: list[tuple[Any, ...]] = [
            (topic, [self._describe(broker, TopicPartition(topic, n)) for n in numbers], {})
            for topic, numbers, _tags in struct.topics
        ]
        await self.go_on.wait()
        return SimpleNamespace(topics=topics)

    def _describe(self, broker: int, partition: TopicPartition) -> tuple[Any, ...]:
        codes = self.codes.get(partition, [])
        code = codes.pop(0) if codes else 0
        has_heard = broker not in self.followers
        producers: list[tuple[Any, ...]] = [
            (producer_id, 0, 0, 0, 0, since if has_heard else ENDED, {})
            for producer_id, since in self.open_since[partition].items()
        ]
        return partition.partition, code, None, [] if code else producers, {}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    monkeypatch.setattr(open_transactions, "FIRST_BACKOFF_S", 0.0)
    return FakeCluster()


def asking(cluster: FakeCluster) -> OpenTransactions:
    return OpenTransactions(cluster, ["results"])  # type: ignore[arg-type]


async def test_each_producer_has_its_own(cluster: FakeCluster) -> None:
    transactions = asking(cluster)
    assert await transactions.of(OURS) == [TopicPartition("results", 0)]
    assert await transactions.of(OTHERS) == [TopicPartition("results", 1)]
    assert await transactions.of(99) == []


async def test_callers_share_an_answer_that_is_younger_than_their_call(
    cluster: FakeCluster,
) -> None:
    transactions = asking(cluster)
    cluster.go_on.clear()
    first = asyncio.create_task(transactions.of(OURS))
    while not cluster.asked:
        await asyncio.sleep(0)
    late = [asyncio.create_task(transactions.of(OURS)) for _ in range(50)]
    await asyncio.sleep(0)
    # The first answer was asked for before they called, and shows what has been closed since.
    cluster.open_since[TopicPartition("results", 0)][OURS] = ENDED
    cluster.go_on.set()
    assert await first == [TopicPartition("results", 0)]
    assert await asyncio.gather(*late) == [[]] * 50
    assert cluster.asked == 4


async def test_partitions_without_an_answer_are_asked_again(cluster: FakeCluster) -> None:
    not_leader = 6
    cluster.codes[TopicPartition("results", 1)] = [not_leader]
    cluster.leaders_to_learn = [{TopicPartition("results", 0): None}]
    cluster.failures = [errors.KafkaConnectionError("cut off")]
    assert await asking(cluster).of(OURS) == [TopicPartition("results", 0)]


async def test_a_topic_that_is_not_ours_to_read_is_named_once(
    cluster: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    topic_authorization_failed = 29
    for partition in (0, 1):
        cluster.codes[TopicPartition("results", partition)] = [topic_authorization_failed] * 2
    transactions = asking(cluster)
    with caplog.at_level(logging.WARNING):
        assert await transactions.of(OURS) == []
        assert await transactions.of(OURS) == []
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith("topic results: not ours to read")
    assert warning.endswith("grant Read on the topic")


async def test_a_follower_that_answers_is_not_believed(cluster: FakeCluster) -> None:
    follower = 5
    cluster.leaders_known = {TopicPartition("results", 0): follower}
    cluster.followers = {follower}
    assert await asking(cluster).of(OURS) == [TopicPartition("results", 0)]


@pytest.mark.parametrize(
    ("code", "expected"),
    [(3, errors.UnknownTopicOrPartitionError), (35, errors.UnsupportedVersionError)],
)
async def test_what_waiting_does_not_cure_is_raised(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, code: int, expected: type[Exception]
) -> None:
    monkeypatch.setattr(open_transactions, "_MISSING_S", 0.0)
    cluster.codes[TopicPartition("results", 0)] = [code]
    with pytest.raises(expected):
        await asking(cluster).of(OURS)


async def test_a_broker_that_refuses_us_is_not_asked_for_ever(cluster: FakeCluster) -> None:
    cluster.failures = [errors.ClusterAuthorizationFailedError()] * 2
    with pytest.raises(errors.ClusterAuthorizationFailedError):
        await asking(cluster).of(OURS)


async def test_a_topic_that_a_starting_broker_does_not_know_yet_is_asked_for_again(
    cluster: FakeCluster,
) -> None:
    cluster.codes[TopicPartition("results", 0)] = [3, 3]
    assert await asking(cluster).of(OURS) == [TopicPartition("results", 0)]


async def test_partitions_of_a_topic_that_shrank_are_not_waited_for(cluster: FakeCluster) -> None:
    not_leader = 6
    cluster.codes[TopicPartition("results", 1)] = [not_leader]

    async def shrunk(topic: str) -> list[int]:
        return [0] if cluster.asked else [0, 1]

    cluster.partitions = shrunk  # type: ignore[method-assign]
    assert await asking(cluster).of(OTHERS) == []


async def test_waiting_for_long_is_warned_of(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(open_transactions, "_LONG_S", 0.0)
    cluster.codes[TopicPartition("results", 1)] = [6]
    with caplog.at_level(logging.WARNING):
        await asking(cluster).of(OURS)
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.endswith("asks again (no answer from the leader of results/1)")


async def test_a_topic_that_stays_missing_is_no_reason_to_wait_for_ever(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def missing(topic: str) -> list[int]:
        raise errors.UnknownTopicOrPartitionError(topic)

    monkeypatch.setattr(open_transactions, "_MISSING_S", 0.0)
    cluster.partitions = missing  # type: ignore[method-assign]
    with pytest.raises(errors.UnknownTopicOrPartitionError):
        await asking(cluster).of(OURS)


async def test_an_old_broker_answers_nothing(cluster: FakeCluster) -> None:
    cluster.failures = [errors.IncompatibleBrokerVersion(), errors.IncompatibleBrokerVersion()]
    assert await asking(cluster).of(OURS) == []


async def test_stopping_ends_the_wait(cluster: FakeCluster) -> None:
    transactions = asking(cluster)
    cluster.go_on.clear()
    waiting = asyncio.create_task(transactions.of(OURS))
    while not cluster.asked:
        await asyncio.sleep(0)
    await transactions.stop()
    with pytest.raises(asyncio.CancelledError):
        await waiting


def is_reply(topic: str) -> bool:
    return topic.startswith("bulk-")


def test_reply_topics_are_asked_for_too_and_others_are_not(cluster: FakeCluster) -> None:
    reply, foreign = TopicPartition("bulk-1", 0), TopicPartition("other", 0)
    cluster.replies = {reply: 1, foreign: 1}
    cluster.open_since |= {reply: {OURS: 5}, foreign: {OURS: 6}}

    async def main() -> None:
        transactions = OpenTransactions(cluster, ["results"], is_reply)  # type: ignore[arg-type]
        assert await transactions.of(OURS) == [TopicPartition("results", 0), reply]

    simulate(main())


def test_a_reply_topic_without_a_leader_is_waited_for_a_while_and_once(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(open_transactions, "FIRST_BACKOFF_S", 0.1)
    still = TopicPartition("bulk-1", 0)
    cluster.replies = {still: None}
    cluster.open_since[still] = {OURS: 5}

    async def main() -> None:
        now_s = asyncio.get_running_loop().time
        transactions = OpenTransactions(cluster, ["results"], is_reply)  # type: ignore[arg-type]
        assert await transactions.of(OURS) == [TopicPartition("results", 0)]
        assert 5.0 <= now_s() < 12.0
        begun_s = now_s()
        assert await transactions.of(OURS) == [TopicPartition("results", 0)]
        assert now_s() - begun_s < 1.0
        cluster.replies[still] = 0
        assert await transactions.of(OURS) == [TopicPartition("results", 0), still]

    simulate(main())
    assert "bulk-1/0: no leader to ask for open transactions" in caplog.text


def test_a_reply_topic_that_is_deleted_meanwhile_is_nobodys(cluster: FakeCluster) -> None:
    gone = TopicPartition("bulk-1", 0)
    cluster.replies = {gone: 0}
    cluster.open_since[gone] = {OURS: 5}
    cluster.codes[gone] = [3] * 9

    async def main() -> None:
        transactions = OpenTransactions(cluster, ["results"], is_reply)  # type: ignore[arg-type]
        assert await transactions.of(OURS) == [TopicPartition("results", 0)]

    simulate(main())


def test_reply_topics_that_are_allowed_while_the_route_runs_are_asked_for(
    cluster: FakeCluster,
) -> None:
    earlier, later = TopicPartition("bulk-1", 0), TopicPartition("jobs-1", 0)
    cluster.replies = {earlier: 1, later: 1}
    cluster.open_since |= {earlier: {OURS: 5}, later: {OURS: 6}}

    async def main() -> None:
        sink = KafkaTransactionalSink(KafkaSettings(), ROUTE)
        transactions = OpenTransactions(cluster, ["results"])  # type: ignore[arg-type]
        replies = ReplyDirectory(cluster, lambda _topic: None)  # type: ignore[arg-type]
        sink._connected = _Connected(cluster, transactions, replies)  # type: ignore[arg-type]
        sink.allow_replies(())
        assert await transactions.of(OURS) == [TopicPartition("results", 0)]
        sink.allow_replies(["bulk-*"])
        assert earlier in await transactions.of(OURS)
        sink.allow_replies(["jobs-*"])
        assert {earlier, later} <= {*await transactions.of(OURS)}, "it may have been left open"

    simulate(main())
