"""A reply topic keeps no transaction from its end: its messages are left out, or wait."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import errors

from consumer.kafka.replies.directory import ReplyDirectory
from consumer.kafka.replies.in_transactions import Replies
from consumer.kafka.transactions.batches import Batch, BatchSending, PartitionsStandError
from consumer.kafka.transactions.coordinated_requests import RefusedReplies
from consumer.kafka.transactions.epochs import Identity
from consumer.kafka.transactions.sink import KafkaTransactionalSink, _Connected
from consumer.kafka.transactions.transactional_id import TransactionalId
from consumer.ports import Message, OffsetAndMetadata, SourceError, TopicPartition
from schemas.settings.file import KafkaSettings
from tests.simulated_service import ROUTE
from tests.simulation import simulate
from tests.unit.kafka.replies.fake_cluster import NO_LEADER, FakeCluster

OWN, REPLY = TopicPartition("results", 0), TopicPartition("bulk-1", 0)
PATIENCE_S = 3.0


def run(main: Callable[[FakeCluster], Awaitable[None]]) -> None:
    async def on_cluster() -> None:
        cluster = FakeCluster()
        cluster.leaders_of = {"results": [1], "bulk-1": [1]}
        await cluster.find_topics(["results", "bulk-1"])
        await main(cluster)

    simulate(on_cluster())


def explain(error: errors.KafkaError) -> SourceError:
    return SourceError(str(error))


class Records:
    """Has the cluster count batches instead of reading them."""

    def __init__(self, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counted: list[TopicPartition] = []
        self.codes: dict[TopicPartition, int] = {}

        def take(_broker: int, topic: str, number: int, _data: bytes) -> int:
            partition = TopicPartition(topic, number)
            self.counted.append(partition)
            return self.codes.get(partition, 0)

        monkeypatch.setattr(cluster, "_take", take)


async def send(cluster: FakeCluster) -> float:
    sending = BatchSending(cluster, "id", 1000, explain)  # type: ignore[arg-type]
    batches = {each: [Batch(0, 1, b"")] for each in (OWN, REPLY)}
    begun_s = asyncio.get_running_loop().time()
    await sending.send(batches, {REPLY}, PATIENCE_S)
    return asyncio.get_running_loop().time() - begun_s


@pytest.mark.parametrize("code", [3, 5, 19])
def test_a_reply_topic_that_takes_nothing_is_named_after_some_seconds(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    async def main(cluster: FakeCluster) -> None:
        records = Records(cluster, monkeypatch)
        records.codes = {REPLY: code}
        begun_s = asyncio.get_running_loop().time()
        with pytest.raises(PartitionsStandError) as standing:
            await send(cluster)
        assert standing.value.codes == {REPLY: code}
        assert PATIENCE_S <= asyncio.get_running_loop().time() - begun_s < 3 * PATIENCE_S
        assert records.counted.count(OWN) == 1

    run(main)


def test_a_reply_topic_without_a_leader_is_named_and_the_routes_own_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main(cluster: FakeCluster) -> None:
        Records(cluster, monkeypatch)
        cluster.leaders_of["bulk-1"] = [NO_LEADER]
        await cluster.learn_leaders()
        with pytest.raises(PartitionsStandError) as standing:
            await send(cluster)
        assert standing.value.codes == {REPLY: 0}
        cluster.leaders_of |= {"bulk-1": [1], "results": [NO_LEADER]}
        await cluster.learn_leaders()
        waiting = asyncio.create_task(send(cluster))
        await asyncio.sleep(60.0)
        assert not waiting.done()
        cluster.leaders_of["results"] = [1]
        await waiting

    run(main)


def test_a_refusal_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(cluster: FakeCluster) -> None:
        records = Records(cluster, monkeypatch)
        records.codes = {REPLY: 29}
        with pytest.raises(PartitionsStandError) as standing:
            await send(cluster)
        assert standing.value.codes == {REPLY: 29}
        records.codes = {OWN: 29}
        with pytest.raises(SourceError):
            await send(cluster)

    run(main)


def answer(**codes: int) -> Any:
    return SimpleNamespace(errors=[(topic, [(0, code)]) for topic, code in codes.items()])


def test_the_coordinator_may_learn_of_a_new_topic_late() -> None:
    codes_of = RefusedReplies({TopicPartition("bulk", 0)})
    for _ in range(4):
        assert codes_of(answer(bulk=3, results=55)) == {3, 55}
    with pytest.raises(PartitionsStandError) as standing:
        codes_of(answer(bulk=3, results=55))
    assert standing.value.codes == {TopicPartition("bulk", 0): 3}


def test_the_coordinator_refuses_a_topic_at_once() -> None:
    codes_of = RefusedReplies({TopicPartition("bulk", 0)})
    assert codes_of(answer(results=29)) == {29}, "which is the route's own, and ends the sink"
    with pytest.raises(PartitionsStandError):
        codes_of(answer(bulk=29, results=55))


def message(topic: str) -> Message:
    return Message(topic, b"k", b"v", [])


def replies_on(cluster: FakeCluster) -> Replies:
    directory = ReplyDirectory(cluster, lambda _topic: None)  # type: ignore[arg-type]
    return Replies(cluster, directory)  # type: ignore[arg-type]


def test_missing_and_forbidden_topics_never_enter_a_transaction() -> None:
    async def main(cluster: FakeCluster) -> None:
        cluster.leaders_of["theirs"] = [1]
        cluster.unauthorized = {"theirs"}
        messages = [message(each) for each in ("results", "bulk-1", "none", "theirs")]
        rejections = await replies_on(cluster).absent({"bulk-1", "none", "theirs"}, messages)
        assert [(each.message.topic, each.is_missing) for each in rejections] == [
            ("none", True),
            ("theirs", False),
        ]
        assert not any(each.is_passing for each in rejections)

    run(main)


def test_a_topic_without_a_leader_waits_outside() -> None:
    async def main(cluster: FakeCluster) -> None:
        cluster.leaders_of["bulk-1"] = [NO_LEADER]
        await cluster.learn_leaders()
        routed = {REPLY: [message("bulk-1")], OWN: [message("results")]}
        (rejection,) = replies_on(cluster).leaderless({"bulk-1"}, routed)
        assert rejection.is_passing
        assert rejection.reason == "bulk-1/0 has no leader"

    run(main)


@pytest.mark.parametrize(
    ("code", "exists", "is_missing", "is_passing"),
    [
        (3, False, True, False),
        (3, True, False, True),
        (0, True, False, True),
        (0, False, True, False),
        (29, True, False, False),
    ],
)
def test_what_kept_a_transaction_from_its_end_is_told_apart(
    code: int, exists: bool, is_missing: bool, is_passing: bool
) -> None:
    async def main(cluster: FakeCluster) -> None:
        replies = replies_on(cluster)
        messages = [message("bulk-1")]
        assert await replies.absent({"bulk-1"}, messages) == []
        if not exists:
            del cluster.leaders_of["bulk-1"]
        (rejection,) = await replies.standing({REPLY: code}, {REPLY: messages})
        assert (rejection.is_missing, rejection.is_passing) == (is_missing, is_passing)
        if code == 29:
            assert len(await replies.absent({"bulk-1"}, messages)) == 1, "it is known by now"

    run(main)


def test_all_topics_that_kept_a_transaction_from_its_end_are_looked_up_together() -> None:
    async def main(cluster: FakeCluster) -> None:
        names = [f"bulk-{number}" for number in range(9)]
        cluster.leaders_of |= {name: [1, 1] for name in names[:6]}
        cluster.unauthorized = set(names[4:6])
        routed = {
            TopicPartition(name, number): [message(name)] for name in names for number in (0, 1)
        }
        before = cluster.metadata_requests
        rejections = await replies_on(cluster).standing(dict.fromkeys(routed, 3), routed)
        told = {(each.message.topic, each.is_missing, each.is_passing) for each in rejections}
        assert told == {
            *((name, False, True) for name in names[:4]),
            *((name, False, False) for name in names[4:6]),
            *((name, True, False) for name in names[6:]),
        }
        assert len(rejections) == len(routed)
        assert cluster.metadata_requests - before <= 2, "once more for what seems missing"

    run(main)


class FakeEpochs:
    """Begins every epoch, and opens and closes every transaction."""

    def __init__(self) -> None:
        self.identity = Identity("id", "group", TopicPartition("requests", 0), 60_000)
        self.producer = (1, 0)
        self.is_in_doubt = False
        self.requests = SimpleNamespace(ask_group=self._pass)
        self.open = self.end_open = self._pass
        self.committed = 0

    async def begin(self, producer: tuple[int, int]) -> bool:
        self.producer = (producer[0], producer[1] + 1)
        return True

    async def close(self, *, is_commit: bool) -> None:
        self.committed += is_commit

    async def _pass(self, *_args: Any, **_options: Any) -> None:
        pass


@pytest.mark.parametrize("code", [-1, 42])
def test_a_reply_topic_that_fails_for_a_reason_of_its_own_is_named_after_some_attempts(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    async def main(cluster: FakeCluster) -> None:
        records = Records(cluster, monkeypatch)
        monkeypatch.setattr(cluster, "request_timeout_ms", 1_000, raising=False)
        epochs: Any = FakeEpochs()
        transactional_id = TransactionalId(
            cluster,  # type: ignore[arg-type]
            epochs,
            batch_bytes=lambda _topic: 100_000,
            explain=explain,
        )
        messages = {OWN: [message("results")], REPLY: [message("bulk-1")]}
        records.codes = {REPLY: code}
        async with asyncio.timeout(60.0):
            with pytest.raises(PartitionsStandError) as standing:
                await transactional_id.publish(messages, OffsetAndMetadata(1, ""), {REPLY})
        assert standing.value.codes == {REPLY: code}
        assert not epochs.committed
        (rejection,) = await replies_on(cluster).standing(standing.value.codes, messages)
        assert rejection.is_passing
        records.codes = {}
        await transactional_id.publish(messages, OffsetAndMetadata(1, ""), {REPLY})
        assert epochs.committed == 1

    run(main)


def test_a_reply_topic_that_goes_while_the_routes_own_are_asked_for_is_an_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main(cluster: FakeCluster) -> None:
        source = TopicPartition("requests", 0)
        sink = KafkaTransactionalSink(KafkaSettings(), ROUTE)
        directory = ReplyDirectory(cluster, lambda _topic: None)  # type: ignore[arg-type]
        sink._connected = _Connected(cluster, SimpleNamespace(), directory)  # type: ignore[arg-type]
        sink._ids[source] = SimpleNamespace()  # type: ignore[assignment]
        assert await directory.find(["bulk-1"])

        async def partitions(topic: str) -> list[int]:
            cluster.leaders_of.pop("bulk-1", None)
            await cluster.learn_leaders()
            if topic not in cluster.seen:
                raise errors.UnknownTopicOrPartitionError
            return [0]

        monkeypatch.setattr(cluster, "partitions", partitions, raising=False)
        both = [message("results"), message("bulk-1")]
        (rejection,) = await sink.publish(source, both, OffsetAndMetadata(1, ""))
        assert rejection.message.topic == "bulk-1"
        assert rejection.is_passing, "it may have been forgotten"
        (rejection,) = await sink.publish(source, both, OffsetAndMetadata(1, ""))
        assert rejection.is_missing

    run(main)
