"""When the group's coordinator last confirmed a member, by its responses to the member's requests.

The group gives a member's partitions away when its session has expired. The member does not notice
where it reaches its partitions' leaders but not the coordinator.
"""
# ruff: noqa: SLF001 - the coordinator is private

from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, SyncGroupRequest

_CONFIRMATIONS = frozenset({0, 27})
"""NONE and REBALANCE_IN_PROGRESS, which is for members only."""


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
        """How long ago the member was confirmed; ``None`` if not since ``forget``."""
        return None if self._confirmed_at_s is None else self._now_s() - self._confirmed_at_s

    def forget(self) -> None:
        """The member joins again, and its next session begins then."""
        self._confirmed_at_s = None

    def watch(self, consumer: AIOKafkaConsumer) -> None:
        """Note the coordinator's responses to a consumer that has not joined yet."""
        coordinator = consumer._coordinator
        send = coordinator._send_req

        async def send_and_note(request: Any) -> Any:
            sent_at_s = self._now_s()
            response = await send(request)
            if getattr(response, "error_code", None) in _CONFIRMATIONS:
                if request.API_KEY == HeartbeatRequest.API_KEY:
                    # The coordinator counts from the request, not from its response.
                    self._confirmed_at_s = sent_at_s
                elif request.API_KEY in (JoinGroupRequest.API_KEY, SyncGroupRequest.API_KEY):
                    # It counts from when all members have joined, and responds then.
                    self._confirmed_at_s = self._now_s()
            return response

        coordinator._send_req = send_and_note
