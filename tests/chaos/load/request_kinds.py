"""The kinds of requests that a client sends, read from its stream of bytes. Pure."""

from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from aiokafka.protocol.group import (
    HeartbeatRequest,
    JoinGroupRequest,
    LeaveGroupRequest,
    SyncGroupRequest,
)
from aiokafka.protocol.transaction import TxnOffsetCommitRequest

GROUP_KINDS = frozenset(
    {
        OffsetCommitRequest.API_KEY,
        OffsetFetchRequest.API_KEY,
        JoinGroupRequest.API_KEY,
        HeartbeatRequest.API_KEY,
        LeaveGroupRequest.API_KEY,
        SyncGroupRequest.API_KEY,
        TxnOffsetCommitRequest.API_KEY,
    }
)
"""Requests that only a group's coordinator gets."""

_SIZE_BYTES = 4
_HEAD_BYTES = 6


class RequestKinds:
    """Follows one connection: each request begins with its size and its kind."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._left_bytes = 0

    def seen_in(self, part: bytes) -> list[int]:
        """Return the kinds of the requests whose beginning ends in this part."""
        kinds = []
        at = 0
        while at < len(part):
            if self._left_bytes:
                passed = min(self._left_bytes, len(part) - at)
                self._left_bytes -= passed
                at += passed
                continue
            wanted = part[at : at + _HEAD_BYTES - len(self._head)]
            self._head += wanted
            at += len(wanted)
            if len(self._head) == _HEAD_BYTES:
                size, kind = self._head[:_SIZE_BYTES], self._head[_SIZE_BYTES:]
                kinds.append(int.from_bytes(kind, "big"))
                self._left_bytes = int.from_bytes(size, "big") - len(kind)
                self._head.clear()
        return kinds
