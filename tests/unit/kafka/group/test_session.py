"""How long a member has gone unheard, by what its coordinator answers."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import errors
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, SyncGroupRequest

from consumer.kafka.group.session import Session
from consumer.kafka.group.static_membership import InstanceHeartbeatRequest

NAMED_HEARTBEAT = InstanceHeartbeatRequest("g", 1, "m", "i")
HEARTBEAT = HeartbeatRequest("g", 1, "m")
REBALANCING, UNKNOWN_MEMBER = 27, 25


class Coordinator:
    """Answers after a time; its member's requests pass through ``_send_req``."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.answers_after_s = 0.0
        self.answer: int | errors.KafkaError = 0
        self.session = Session(lambda: self.now_s)
        consumer: Any = SimpleNamespace(_coordinator=self)
        self.session.watch(consumer)

    async def _send_req(self, _request: Any) -> Any:
        self.now_s += self.answers_after_s
        if isinstance(self.answer, errors.KafkaError):
            raise self.answer
        return SimpleNamespace(error_code=self.answer)

    async def send(self, request: Any) -> None:
        await self._send_req(request)


@pytest.mark.parametrize("request_", [HEARTBEAT, NAMED_HEARTBEAT])
@pytest.mark.parametrize("answer", [0, REBALANCING])
async def test_a_good_heartbeat_counts_from_when_it_was_sent(answer: int, request_: Any) -> None:
    coordinator = Coordinator()
    coordinator.answers_after_s, coordinator.answer = 2.0, answer

    await coordinator.send(request_)

    assert coordinator.session.unheard_s == 2.0


@pytest.mark.parametrize("kind", [JoinGroupRequest, SyncGroupRequest])
async def test_joining_counts_from_when_all_have_joined(kind: Any) -> None:
    coordinator = Coordinator()
    coordinator.answers_after_s = 20.0

    await coordinator.send(SimpleNamespace(API_KEY=kind.API_KEY))
    coordinator.now_s += 1

    assert coordinator.session.unheard_s == 1.0


async def test_a_heartbeat_without_a_good_answer_counts_for_nothing() -> None:
    coordinator = Coordinator()
    await coordinator.send(HEARTBEAT)
    coordinator.now_s += 9
    coordinator.answer = UNKNOWN_MEMBER
    await coordinator.send(HEARTBEAT)
    coordinator.answer = errors.KafkaConnectionError("cut off")
    with pytest.raises(errors.KafkaConnectionError):
        await coordinator.send(HEARTBEAT)

    assert coordinator.session.unheard_s == 9.0


async def test_what_is_no_word_about_the_member_counts_for_nothing() -> None:
    coordinator = Coordinator()

    await coordinator.send(SimpleNamespace(API_KEY=9))

    assert coordinator.session.unheard_s is None


async def test_one_that_joins_again_is_not_known_to_be_a_member() -> None:
    coordinator = Coordinator()
    await coordinator.send(HEARTBEAT)

    coordinator.session.forget()

    assert coordinator.session.unheard_s is None
