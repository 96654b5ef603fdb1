"""What the group has committed, asked of a coordinator that is loading, moving or deciding."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import errors
from aiokafka.protocol.commit import OffsetFetchRequest_v3, OffsetFetchResponse_v3

from consumer.kafka.client import internals
from consumer.kafka.client.offsets import OffsetFetchRequest_v7
from consumer.ports import OffsetAndMetadata, TopicPartition
from tests.simulation import simulate

COMMITTED, UNREAD = TopicPartition("requests", 0), TopicPartition("requests", 1)
LOADING, NOT_COORDINATOR, UNSTABLE, GROUP_REFUSED = 14, 16, 88, 30


class FakeCoordinator:
    """Answers with a code for the whole group, one after the other, and then with offsets."""

    group_id = "g"

    def __init__(self, *codes: int, is_old: bool) -> None:
        self._codes = list(codes)
        self._is_old = is_old
        self.asked: list[Any] = []
        self.lookups = 0

    async def ensure_coordinator_known(self) -> None:
        pass

    def coordinator_dead(self) -> None:
        self.lookups += 1

    async def _send_req(self, request: Any) -> Any:
        version: Any = OffsetFetchRequest_v3 if self._is_old else OffsetFetchRequest_v7
        self.asked.append(request.build(version))
        code = self._codes.pop(0) if self._codes else 0
        if self._is_old:
            found = [(0, 7, "", 0), (1, -1, "", 0)]
            return OffsetFetchResponse_v3(0, [] if code else [("requests", found)], code)
        results: list[Any] = [(0, 7, 0, "", 0, {}), (1, -1, -1, "", 0, {})]
        return OffsetFetchRequest_v7.RESPONSE_TYPE(
            0, [] if code else [("requests", results, {})], code, {}
        )


def ask(
    coordinator: FakeCoordinator, *, require_stable: bool = False
) -> dict[TopicPartition, OffsetAndMetadata | None]:
    consumer: Any = SimpleNamespace(_coordinator=coordinator)
    return simulate(
        internals.committed(consumer, [COMMITTED, UNREAD], require_stable=require_stable)
    )


@pytest.mark.parametrize("require_stable", [False, True])
@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize("code", [LOADING, 15, NOT_COORDINATOR])
def test_a_coordinator_that_loads_or_has_moved_is_asked_again(
    code: int, is_old: bool, require_stable: bool
) -> None:
    coordinator = FakeCoordinator(code, code, is_old=is_old)

    found = ask(coordinator, require_stable=require_stable)

    assert found == {COMMITTED: OffsetAndMetadata(7, ""), UNREAD: None}
    assert coordinator.lookups == 2


def test_an_undecided_transaction_is_waited_for_where_it_is_asked_for() -> None:
    coordinator = FakeCoordinator(UNSTABLE, UNSTABLE, is_old=False)

    found = ask(coordinator, require_stable=True)

    assert found[COMMITTED] == OffsetAndMetadata(7, "")
    assert coordinator.lookups == 0
    assert [request.require_stable for request in coordinator.asked] == [True] * 3


def test_otherwise_it_is_not() -> None:
    coordinator = FakeCoordinator(is_old=False)

    ask(coordinator)

    assert [request.require_stable for request in coordinator.asked] == [False]


def test_a_refusal_is_raised() -> None:
    with pytest.raises(errors.GroupAuthorizationFailedError):
        ask(FakeCoordinator(GROUP_REFUSED, is_old=False))
