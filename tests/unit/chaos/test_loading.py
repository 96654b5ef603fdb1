"""A loading coordinator of the harness answers like Kafka's."""

from typing import Any

import pytest
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest
from aiokafka.protocol.produce import ProduceRequest

from consumer.kafka.client.offsets import read_points
from tests.chaos.faults.injection import Injection
from tests.chaos.faults.loading import LOADING, MOVED, answer

FETCH = OffsetFetchRequest("group", [("requests", [0])])
COMMIT = OffsetCommitRequest("group", 3, "member", -1, [("requests", [(0, 7, ""), (1, 9, "")])])
HEARTBEAT = HeartbeatRequest("group", 3, "member")
LEAVE = LeaveGroupRequest("group", "member")


def test_committed_offsets_are_neither_there_nor_missing() -> None:
    assert read_points(answer(FETCH, 1)) == ({LOADING}, {})
    assert read_points(answer(FETCH, 2)) == ({MOVED}, {})


def test_a_commit_is_refused_for_each_partition() -> None:
    assert answer(COMMIT, 1).topics == [("requests", [(0, LOADING), (1, LOADING)])]


def test_a_heartbeat_never_hears_of_loading() -> None:
    assert [answer(HEARTBEAT, turn).error_code for turn in (1, 2)] == [MOVED, MOVED]


@pytest.mark.parametrize("kind", [LeaveGroupRequest, ProduceRequest])
def test_other_requests_are_passed_on(kind: Any) -> None:
    assert answer(kind.__new__(kind), 1) is None


def test_only_a_number_of_requests_of_each_kind_are_answered_so() -> None:
    injection = Injection()
    assert injection._loading(HEARTBEAT) is None
    injection.loading_answers = 2
    for request in (HEARTBEAT, FETCH):
        answers = [injection._loading(request) for _ in range(3)]
        assert [each is None for each in answers] == [False, False, True]
    assert injection._loading(JoinGroupRequest.__new__(JoinGroupRequest)).error_code == LOADING
    injection.loading_answers = 0
    assert injection._loading(FETCH) is None
