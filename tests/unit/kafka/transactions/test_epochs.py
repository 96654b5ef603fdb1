"""What an epoch owes to the transaction before it, through failures of the clean-up itself."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import errors

from consumer.kafka.transactions import coordinated_requests, epochs
from consumer.kafka.transactions.epochs import Epochs, Identity
from consumer.kafka.transactions.wire import NO_PRODUCER
from consumer.ports import SourceError, TopicPartition

RESULTS = TopicPartition("results", 0)
PRODUCER_ID = 7


class FakeCoordinator:
    """Ended a transaction as ``state`` says, and left it open in ``RESULTS``."""

    def __init__(self, state: str) -> None:
        self.state = state
        self.epoch = 3
        self.disruptions = 0
        self.is_left_open = True
        self.ends: list[bool] = []
        self.lost_requests: list[str] = []
        self.lost_answers: list[str] = []
        self.stuck_at = ""
        self.code = 0
        self.concurrent = 0

    def forget_coordinators(self, *_keys: str) -> None:
        self.disruptions += 1

    async def of(self, producer_id: int) -> list[TopicPartition]:
        return [RESULTS] if self.is_left_open and producer_id == PRODUCER_ID else []

    async def ask_transactions(self, _name: str, request: Any) -> Any:
        kind = type(request).__name__
        if kind == self.stuck_at:
            await asyncio.Event().wait()
        if kind in self.lost_requests:
            self.lost_requests.remove(kind)
            raise errors.KafkaConnectionError("lost")
        response = self._answer(kind, request)
        if kind in self.lost_answers:
            self.lost_answers.remove(kind)
            raise errors.KafkaConnectionError("lost")
        return response

    def _answer(self, kind: str, request: Any) -> Any:
        match kind:
            case "DescribeTransactionsRequest":
                one: tuple[Any, ...] = (
                    self.code,
                    "id",
                    self.state,
                    1,
                    1,
                    PRODUCER_ID,
                    self.epoch,
                    [],
                    {},
                )
                return SimpleNamespace(transactions=[one])
            case "InitProducerIdRequest":
                if self.concurrent:
                    self.concurrent -= 1
                    return SimpleNamespace(error_code=51, producer_id=-1, producer_epoch=-1)
                if self.state == "Ongoing":
                    self._end(is_commit=False)
                self.epoch += 1
                self.state = "Empty"
                return SimpleNamespace(
                    error_code=0, producer_id=PRODUCER_ID, producer_epoch=self.epoch
                )
            case "AddPartitionsToTxnRequest":
                self.state = "Ongoing"
                return SimpleNamespace(errors=[("results", [(0, 0)])])
            case "EndTxnRequest":
                self._end(is_commit=request._transaction_result)
        if kind == "AddOffsetsToTxnRequest":
            self.state = "Ongoing"
        return SimpleNamespace(error_code=0)

    def _end(self, *, is_commit: bool) -> None:
        self.state = "CompleteCommit" if is_commit else "CompleteAbort"
        self.ends.append(is_commit)
        self.is_left_open = False

    async def ask_group(self, _group: str, _request: Any) -> Any:
        return SimpleNamespace(error_code=0, topics=[("requests", [(0, 1, -1, "", 0, {})], {})])


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinated_requests, "FIRST_BACKOFF_S", 0.0)
    monkeypatch.setattr(epochs, "FIRST_BACKOFF_S", 0.0)


def epochs_of(coordinator: FakeCoordinator) -> Epochs:
    client: Any = coordinator
    identity = Identity("id", "g", TopicPartition("requests", 0), timeout_ms=60_000)
    return Epochs(client, client, identity, lambda error: SourceError(str(error)))


STEPS = [
    "InitProducerIdRequest",
    "AddOffsetsToTxnRequest",
    "AddPartitionsToTxnRequest",
    "EndTxnRequest",
]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("loss", ["lost_requests", "lost_answers"])
@pytest.mark.parametrize("is_commit", [True, False])
async def test_a_request_that_is_lost_does_not_change_how_it_ends(
    step: str, loss: str, is_commit: bool
) -> None:
    coordinator = FakeCoordinator("CompleteCommit" if is_commit else "CompleteAbort")
    setattr(coordinator, loss, [step])
    taken = epochs_of(coordinator)
    assert await taken.begin(NO_PRODUCER)
    await taken.end_open()
    assert set(coordinator.ends) == {is_commit}


@pytest.mark.parametrize("step", [*STEPS[1:], "of"])
async def test_whoever_comes_after_a_clean_up_given_up_still_commits(step: str) -> None:
    coordinator = FakeCoordinator("CompleteCommit")
    first = epochs_of(coordinator)
    assert await first.begin(NO_PRODUCER)
    if step != "of":
        coordinator.stuck_at = step
        ending = asyncio.create_task(first.end_open())
        for _ in range(50):
            await asyncio.sleep(0)
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        coordinator.stuck_at = ""
    await first.abort()
    coordinator.is_left_open = True

    second = epochs_of(coordinator)
    assert await second.begin(NO_PRODUCER)
    await second.end_open()
    assert set(coordinator.ends) == {True}


async def test_an_end_that_is_not_known_ends_nothing() -> None:
    coordinator = FakeCoordinator("")
    taken = epochs_of(coordinator)
    assert await taken.begin(NO_PRODUCER)
    await taken.end_open()
    assert coordinator.ends == []


async def test_what_was_settled_is_not_owed_any_more() -> None:
    coordinator = FakeCoordinator("CompleteCommit")
    taken = epochs_of(coordinator)
    assert await taken.begin(NO_PRODUCER)
    await taken.end_open()
    await taken.open([RESULTS])
    coordinator.is_left_open = True
    await taken.abort()
    assert coordinator.ends == [True, False]


async def test_a_disruption_leaves_doubt_until_the_next_epoch() -> None:
    coordinator = FakeCoordinator("CompleteCommit")
    taken = epochs_of(coordinator)
    assert await taken.begin(NO_PRODUCER)
    doubts = [taken.is_in_doubt]
    coordinator.disruptions += 1
    doubts.append(taken.is_in_doubt)
    assert await taken.begin(taken.producer)
    doubts.append(taken.is_in_doubt)
    assert doubts == [False, True, False]


async def test_an_earlier_id_that_was_never_used_is_left_alone() -> None:
    coordinator = FakeCoordinator("CompleteCommit")
    coordinator.code = 105
    await epochs_of(coordinator).end_if_known()
    assert coordinator.epoch == 3


async def test_an_earlier_id_that_is_not_ours_is_left_alone() -> None:
    coordinator = FakeCoordinator("CompleteCommit")
    coordinator.code = 53
    await epochs_of(coordinator).end_if_known()
    assert coordinator.epoch == 3


@pytest.mark.parametrize(("state", "ends"), [("Ongoing", [False]), ("CompleteCommit", [True])])
async def test_who_publishes_under_an_earlier_id_is_fenced(state: str, ends: list[bool]) -> None:
    coordinator = FakeCoordinator(state)
    await epochs_of(coordinator).end_if_known()
    assert coordinator.epoch > 3
    assert coordinator.ends == ends


async def test_a_marker_that_cannot_be_written_is_asked_for_less_and_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []

    async def sleep(pause_s: float) -> None:
        pauses.append(pause_s)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    coordinator = FakeCoordinator("CompleteCommit")
    coordinator.concurrent = 50
    taken = epochs_of(coordinator)
    await taken.begin(NO_PRODUCER)
    assert len(pauses) == 50
    assert pauses[0] == 0.002
    assert pauses == sorted(pauses)
    assert pauses[-1] == 0.2
