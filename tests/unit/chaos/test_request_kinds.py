import pytest

from tests.chaos.load.request_kinds import GROUP_KINDS, RequestKinds

FETCH, HEARTBEAT = 1, 12


def request(kind: int, size: int) -> bytes:
    return size.to_bytes(4, "big") + kind.to_bytes(2, "big") + b"\x0c" * (size - 2)


STREAM = request(FETCH, 40) + request(HEARTBEAT, 2) + request(FETCH, 3)


@pytest.mark.parametrize("part_bytes", [1, 2, 5, 7, 1_000])
def test_each_request_is_seen_once_however_it_comes(part_bytes: int) -> None:
    kinds = RequestKinds()
    parts = [STREAM[at : at + part_bytes] for at in range(0, len(STREAM), part_bytes)]
    assert [kind for part in parts for kind in kinds.seen_in(part)] == [FETCH, HEARTBEAT, FETCH]


def test_a_group_s_requests_are_told_from_a_leader_s() -> None:
    assert HEARTBEAT in GROUP_KINDS
    assert FETCH not in GROUP_KINDS
