"""When the group's coordinator last confirmed a member, by its answers to the member's requests.

The group gives a member's partitions away when its session has run out, whether or not the member
hears of it: it may well reach its partitions' leaders, and not the coordinator.
"""
# ruff: noqa: SLF001 - the coordinator is private

from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, SyncGroupRequest

_CONFIRMATIONS = frozenset({0, 27})
"""NONE and REBALANCE_IN_PROGRESS: a member that is to join again is a member."""


class Session:
    """The session of one member.

    Args:
        now_s: Returns monotonic seconds that go on while the machine is asleep.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._confirmed_at_s: float | None = None

    @property
    def unheard_s(self) -> float | None:
        """How long ago the member was confirmed; ``None`` where not since ``forget``."""
        return None if self._confirmed_at_s is None else self._now_s() - self._confirmed_at_s

    def forget(self) -> None:
        """Take note that the member joins again: its next session begins then."""
        self._confirmed_at_s = None

    def watch(self, consumer: AIOKafkaConsumer) -> None:
        """Listen to what the coordinator answers a consumer that has not joined yet."""
        coordinator = consumer._coordinator
        send = coordinator._send_req

        async def send_and_note(request: Any) -> Any:
            sent_at_s = self._now_s()
            response = await send(request)
            if getattr(response, "error_code", None) in _CONFIRMATIONS:
                if request.API_KEY == HeartbeatRequest.API_KEY:
                    # The coordinator counts from when it got the request, not from its answer.
                    self._confirmed_at_s = sent_at_s
                elif request.API_KEY in (JoinGroupRequest.API_KEY, SyncGroupRequest.API_KEY):
                    # It counts anew once all members have joined; the answer comes then.
                    self._confirmed_at_s = self._now_s()
            return response

        coordinator._send_req = send_and_note
