"""What a group's coordinator answers while it loads the group, or has just moved. Pure."""

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from aiokafka.protocol.api import Request
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, SyncGroupRequest
from aiokafka.protocol.transaction import TxnOffsetCommitRequest

LOADING = 14
MOVED = 16


def _whole(_request: Any, code: int) -> Any:
    return SimpleNamespace(error_code=code)


def _moved(_request: Any, _code: int) -> Any:
    # While it loads, Kafka answers a heartbeat with success, and SyncGroup with a rebalance.
    return SimpleNamespace(error_code=MOVED)


def _no_offsets(_request: Any, code: int) -> Any:
    return SimpleNamespace(error_code=code, topics=[])


def _each_partition(request: Any, code: int) -> Any:
    topics = [
        (topic, [(number, code) for number, _offset, _metadata in points])
        for topic, points in request._topics
    ]
    return SimpleNamespace(topics=topics, errors=topics)


_ANSWERS: Mapping[int, Callable[[Any, int], Any]] = {
    OffsetCommitRequest.API_KEY: _each_partition,
    OffsetFetchRequest.API_KEY: _no_offsets,
    JoinGroupRequest.API_KEY: _whole,
    HeartbeatRequest.API_KEY: _moved,
    SyncGroupRequest.API_KEY: _moved,
    TxnOffsetCommitRequest.API_KEY: _each_partition,
}


def answer(request: Request[Any], turn: int) -> Any:
    """Return the answer to a request of the group's coordinator; ``None`` for other requests.

    Args:
        request: As the client is about to send it.
        turn: Its number among requests of its kind: loading and moved alternate.
    """
    answering = _ANSWERS.get(request.API_KEY)
    return None if answering is None else answering(request, LOADING if turn % 2 else MOVED)
