"""What a caller may have in flight, by what the replicas say and hold."""

from hypothesis import given
from hypothesis import strategies as st

from handoff.windows import REPLICA_SILENT_AFTER_S, CallInFlight, ReplicaWindows


def hear(
    windows: ReplicaWindows, replica: str, window_records: int, now_s: float, records: int = 0
) -> CallInFlight:
    call = windows.sent(records)
    windows.heard(call, replica, window_records, now_s)
    return call


def test_windows_are_learned_and_forgotten_but_for_the_last_word() -> None:
    windows = ReplicaWindows(initial_records=16)
    assert windows.room_records == windows.smallest_records == 16
    windows.ended(hear(windows, "b", 40, 50.0), 50.0)
    windows.ended(hear(windows, "a", 80, 0.0), 0.0)
    assert windows.room_records == 120
    assert windows.smallest_records == 40
    windows.forget_silent(61.0)
    assert windows.replicas == ["b"]
    windows.forget_silent(1_000.0)
    assert windows.room_records == 40


def test_the_one_that_was_heard_last_is_kept_where_all_are_silent() -> None:
    windows = ReplicaWindows(16)
    windows.ended(hear(windows, "late", 40, 50.0), 50.0)
    windows.ended(hear(windows, "early", 80, 0.0), 0.0)
    windows.forget_silent(1_000.0)
    assert windows.replicas == ["late"]


def test_a_replica_with_a_call_is_not_silent_and_is_for_a_while_after() -> None:
    windows = ReplicaWindows(2)
    busy = hear(windows, "busy", 1, 0.0, records=1)
    windows.ended(hear(windows, "quick", 1, 0.0), 0.0)
    for now_s in (61.0, 600.0):
        windows.ended(hear(windows, "quick", 1, now_s), now_s)
        windows.forget_silent(now_s)
        assert sorted(windows.replicas) == ["busy", "quick"]
        assert windows.room_records == 1
    windows.ended(busy, 600.0)
    windows.ended(hear(windows, "quick", 1, 700.0), 700.0)
    windows.forget_silent(600.0 + REPLICA_SILENT_AFTER_S)
    assert windows.room_records == 2
    windows.forget_silent(601.0 + REPLICA_SILENT_AFTER_S)
    assert windows.replicas == ["quick"]


def test_what_a_replica_holds_over_its_window_takes_nothing_from_the_others() -> None:
    windows = ReplicaWindows(8)
    hear(windows, "full", 3, 0.0, records=6)
    hear(windows, "free", 4, 0.0, records=1)
    assert windows.room_records == 3


def test_the_last_replica_is_not_flooded_with_the_windows_of_those_that_are_gone() -> None:
    windows = ReplicaWindows(8)
    for gone in ("a", "b"):
        windows.ended(hear(windows, gone, 10, 0.0), 0.0)
    hear(windows, "last", 10, 0.0)
    while windows.room_records > 0:
        hear(windows, "last", 10, 1.0, records=1)
    assert windows.in_flight_records == 2 * 10 + 10 + 10


def test_a_call_that_nobody_has_named_counts_against_all() -> None:
    windows = ReplicaWindows(8)
    hear(windows, "a", 4, 0.0, records=1)
    call = windows.sent(2)
    assert windows.room_records == 1
    windows.heard(call, "b", 6, 0.0)
    assert windows.room_records == 3 + 4
    windows.answered(call, 1)
    assert windows.room_records == 3 + 5
    windows.ended(call, 0.0)
    assert windows.room_records == 3 + 6


def test_a_replica_may_name_itself_before_it_says_what_it_wants() -> None:
    windows = ReplicaWindows(8)
    call = hear(windows, "a", 0, 0.0, records=3)
    assert windows.room_records == 5
    assert windows.smallest_records == 8
    windows.heard(call, "a", 40, 0.0)
    hear(windows, "b", 0, 0.0, records=3)
    assert windows.room_records == 37
    windows.heard(call, "a", 0, 0.0)
    assert windows.smallest_records == 40


@given(st.data())
def test_what_is_in_flight_is_what_was_sent_and_neither_answered_nor_ended(
    data: st.DataObject,
) -> None:
    windows = ReplicaWindows(10)
    calls: list[CallInFlight] = []
    left: list[int] = []
    said: dict[str, int] = {}
    for now_s in range(data.draw(st.integers(1, 30))):
        step = data.draw(st.sampled_from(["send", "hear", "answer", "end", "pass"]))
        at = data.draw(st.integers(0, len(calls) - 1)) if calls else None
        if step == "send" or at is None:
            records = data.draw(st.integers(1, 9))
            calls.append(windows.sent(records))
            left.append(records)
        elif step == "hear":
            replica, window = data.draw(st.sampled_from("abc")), data.draw(st.integers(0, 20))
            windows.heard(calls[at], replica, window, float(now_s))
            said[replica] = window or said.get(replica, 0)
        elif step == "answer":
            answered = data.draw(st.integers(0, left[at]))
            windows.answered(calls[at], answered)
            left[at] -= answered
        elif step == "end":
            windows.ended(calls.pop(at), float(now_s))
            left.pop(at)
        assert windows.in_flight_records == sum(left)
        if any(said.values()):
            held = dict.fromkeys(said, 0)
            for call, records in zip(calls, left, strict=True):
                if call.replica is not None:
                    held[call.replica] += records
            room = sum(
                max(0, said[name] - held[name]) - max(0, held[name] - 2 * said[name])
                for name in said
                if said[name]
            )
            placeless = sum(r for c, r in zip(calls, left, strict=True) if c.replica is None)
            assert windows.room_records == room - placeless
        else:
            assert windows.room_records == 10 - sum(left)
