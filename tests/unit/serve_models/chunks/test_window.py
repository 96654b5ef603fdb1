"""How consumers share a replica's window: what one does not want is the others'."""

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handoff.chunk import Chunk
from handoff.dispatch import CALLS_PER_WINDOW, chunk_records
from handoff.windows import CallInFlight, ReplicaWindows
from serve_models.chunks.window import CALLER_FORGOTTEN_AFTER_S, SharedWindow, divide

demands = st.lists(
    st.one_of(st.floats(0, 1e6), st.just(float("inf")), st.integers(0, 300).map(float)),
    min_size=1,
    max_size=12,
)


@given(st.floats(0.5, 1e4), demands)
def test_the_parts_are_the_window_and_nobody_has_more_than_one_who_wants_more(
    window: float, wanted: list[float]
) -> None:
    division = divide(window, wanted)
    grants = [division.grant(demand) for demand in wanted]
    assert sum(grants) == pytest.approx(window)
    for demand, grant in zip(wanted, grants, strict=True):
        assert grant >= min(demand, window / len(wanted)) * (1 - 1e-9)
        # It has all it wants, or nobody has more.
        assert grant >= demand or grant >= max(grants) * (1 - 1e-9)
        assert sum(wanted) < window or grant <= demand


@given(
    st.integers(1, 200),
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 400)), min_size=1, max_size=8),
)
def test_each_is_told_its_part_and_room_to_ask_for_more(
    slots: int, consumers: list[tuple[int, int]]
) -> None:
    window = SharedWindow(slots)
    for number, (records, waiting) in enumerate(consumers):
        window.call_started(Chunk(f"c{number}", [b""] * records, [], records + waiting), 0.0)
    wanted = [float(sum(each)) for each in consumers]
    division = divide(float(slots), wanted)
    for number, demand in enumerate(wanted):
        told = window.window_records(f"c{number}", 0.0)
        assert told >= division.grant(demand) - 1e-9
        assert told <= max(1, ceil(division.most(demand) + 1e-9))
        if division.most(demand) >= demand + 1:
            assert told >= demand + 1


@pytest.mark.parametrize(
    ("slots", "ratio", "consumers", "records"),
    [(64, 1.25, 1, 80), (64, 1.25, 3, 27), (64, 1.0, 1, 64), (1, 1.25, 1, 2), (1, 1.0, 8, 1)],
)
def test_the_slots_and_a_little_more_are_divided_among_consumers(
    slots: int, ratio: float, consumers: int, records: int
) -> None:
    window = SharedWindow(slots * ratio)
    names = [f"consumer-{number}" for number in range(consumers)]
    for name in names:
        window.call_started(Chunk(name, [b""]), 0.0)
    assert {window.window_records(name, 0.0) for name in names} == {records}


def test_a_consumer_counts_while_a_call_of_it_runs_and_a_while_after() -> None:
    window = SharedWindow(8)
    long, gone, new = (Chunk(name, [b""]) for name in ("long", "gone", "new"))
    window.call_started(long, 0.0)
    window.call_started(long, 0.0)
    window.call_started(gone, 0.0)
    window.records_ended("gone", 1, 0.0)
    later_s = CALLER_FORGOTTEN_AFTER_S + 1
    assert window.window_records("long", 1.0) == 4
    assert window.window_records("long", later_s) == 8
    window.call_started(new, later_s)
    assert window.window_records("long", later_s) == 4
    window.records_ended("long", 1, later_s)
    window.records_ended("long", 1, later_s)
    # "new" still has a call; "long" was seen lately, and then no more.
    assert window.window_records("new", later_s + CALLER_FORGOTTEN_AFTER_S) == 4
    assert window.window_records("new", 2 * later_s) == 8


def test_a_trickle_costs_a_bulk_route_what_it_has_in_flight() -> None:
    window = SharedWindow(160)
    window.call_started(Chunk("bulk", [b""] * 32, [], 20_000), 0.0)
    assert window.window_records("bulk", 0.0) == 160
    trickle = Chunk("trickle", [b""], [], 1)
    window.call_started(trickle, 1.0)
    assert window.window_records("trickle", 1.0) == 3
    assert window.window_records("bulk", 1.0) == 159
    window.records_ended("trickle", 1, 2.0)
    assert window.window_records("bulk", 2.0) == 160
    # It is not forgotten, but wants nothing.
    window.call_started(Chunk("trickle", [b""], [], 20_000), CALLER_FORGOTTEN_AFTER_S)
    assert window.window_records("bulk", CALLER_FORGOTTEN_AFTER_S) == 80


def test_one_who_does_not_say_what_it_wants_wants_all() -> None:
    window = SharedWindow(100)
    window.call_started(Chunk("bulk", [b""], [], 20_000), 0.0)
    window.call_started(Chunk("silent", [b""]), 0.0)
    assert window.window_records("bulk", 0.0) == window.window_records("silent", 0.0) == 50


def test_one_who_may_have_much_more_is_to_be_told_though_nothing_of_it_ends() -> None:
    window = SharedWindow(100)
    window.call_started(Chunk("long", [b""] * 50, [], 20_000), 0.0)
    assert window.has_news("long", 0.0)
    assert window.window_records("long", 0.0) == 100
    other = Chunk("other", [b""] * 50, [], 50)
    window.call_started(other, 0.0)
    assert window.window_records("other", 0.0) == window.window_records("long", 0.0) == 50
    assert window.consumers_with_news(0.0) == []
    window.records_ended("other", 50, 1.0)
    assert window.consumers_with_news(1.0) == ["long"]
    assert window.window_records("long", 1.0) == 100
    assert window.consumers_with_news(1.0) == []


class _Caller:
    """A consumer that sends all it may to one replica, and hears its window as an engine tells."""

    def __init__(self, name: str, window: SharedWindow) -> None:
        self.name = name
        self.waiting = 0
        self.calls: list[tuple[CallInFlight, Chunk]] = []
        self._window = window
        self._windows = ReplicaWindows(256)

    @property
    def in_flight(self) -> int:
        return self._windows.in_flight_records

    def send(self, now_s: float) -> None:
        while records := chunk_records(
            queued=self.waiting,
            room_records=self._windows.room_records,
            smallest_window=self._windows.smallest_records,
            most_records=256,
        ):
            wanted = self._windows.wanted_records(self.waiting)
            self.waiting -= records
            call = self._windows.sent(records)
            chunk = Chunk(self.name, [b""] * records, [], wanted)
            self.calls.append((call, chunk))
            self._window.call_started(chunk, now_s)
            if self._window.has_news(self.name, now_s):
                self.hear(call, 0, now_s)

    def hear(self, call: CallInFlight, answered: int, now_s: float) -> None:
        told = self._window.window_records(self.name, now_s)
        self._windows.heard(call, "replica", told, now_s)
        self._windows.answered(call, answered)

    def end_oldest(self, now_s: float) -> None:
        call, chunk = self.calls.pop(0)
        self.hear(call, len(chunk.lines), now_s)
        self._windows.ended(call, now_s)
        self._window.records_ended(self.name, len(chunk.lines), now_s)


def test_a_trickle_that_becomes_a_flood_has_its_half_at_once() -> None:
    window = SharedWindow(160)
    bulk, trickle = _Caller("bulk", window), _Caller("trickle", window)
    bulk.waiting = 20_000
    for now_s in range(60):
        trickle.waiting += now_s % 20 == 0
        for caller in (trickle, bulk):
            caller.send(float(now_s))
            if caller.calls:
                caller.end_oldest(float(now_s))
                caller.send(float(now_s))
        # Nearly all of it, though not always filled to the last part of a chunk.
        assert bulk.in_flight > 160 - 160 // CALLS_PER_WINDOW - 4
    trickle.waiting = 1
    trickle.send(60.0)
    # A long record of its own is under way when the flood comes.
    trickle.waiting = 20_000
    trickle.send(61.0)
    assert trickle.in_flight > 80 - 80 // CALLS_PER_WINDOW - 2
    # What is too much goes as the other's records end, and no more comes.
    assert bulk.in_flight + trickle.in_flight <= 160 + 80 + 1
    while bulk.in_flight > 80:
        before = bulk.in_flight
        bulk.end_oldest(62.0)
        bulk.send(62.0)
        assert bulk.in_flight < before
    trickle.send(62.0)
    assert bulk.in_flight + trickle.in_flight <= 162
