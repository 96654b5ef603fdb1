"""Which requests are cancelled."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.engine.cancellation import Cancellations
from consumer.ports import Record
from schemas.wire.control import ControlRecord
from tests.engines import P0

NAMES = st.sampled_from(["a", "b", "c"])
TIMES = st.integers(0, 20)
TARGETS = st.one_of(
    st.builds(lambda name: {"custom_id": name}, NAMES),
    st.builds(lambda name: {"job": name}, NAMES),
    st.just({"whole_route": True}),
)


def control(route: str = "chat", **target: object) -> ControlRecord:
    return ControlRecord.model_validate({"action": "cancel", "route": route, **target})


def request(at_ms: int | None, job: str | None = None) -> Record:
    headers = [] if job is None else [("headrace-job", job.encode())]
    return Record(P0, 0, None, b"{}", headers, at_ms)


def test_of_two_jobs_the_last_counts() -> None:
    cancellations = Cancellations("chat")
    cancellations.add(control(job="two"), 10)
    headers = [("headrace-job", b"one"), ("headrace-job", b"two")]
    assert cancellations.covers(Record(P0, 0, None, b"{}", headers, 5), "id")
    assert not cancellations.covers(Record(P0, 0, None, b"{}", headers[::-1], 5), "id")
    assert not cancellations.covers(
        Record(P0, 0, None, b"{}", [*headers, ("headrace-job", None)], 5), "id"
    )


@given(
    st.lists(st.tuples(TARGETS, TIMES, st.sampled_from(["chat", "other"]))),
    NAMES,
    st.none() | NAMES,
    TIMES,
)
def test_a_request_is_cancelled_by_what_names_it_and_is_not_older(
    controls: list[tuple[dict[str, str | bool], int, str]],
    name: str,
    job: str | None,
    at_ms: int,
) -> None:
    table = Cancellations("chat")
    for target, control_ms, route in controls:
        assert table.add(control(route, **target), control_ms) == (route == "chat")
    expected = any(
        route == "chat"
        and at_ms <= control_ms
        and (
            target.get("custom_id") == name
            or (job is not None and target.get("job") == job)
            or "whole_route" in target
        )
        for target, control_ms, route in controls
    )
    assert table.covers(request(at_ms, job), name) is expected


GO_ZERO_TIME_MS = -62_135_596_800_000


@pytest.mark.parametrize("at_ms", [None, -1, GO_ZERO_TIME_MS])
def test_a_request_of_no_time_is_cancelled_by_nothing(at_ms: int | None) -> None:
    table = Cancellations("chat")
    assert not table.covers(request(at_ms, "a"), "a")
    for target in ({"custom_id": "a"}, {"job": "a"}, {"whole_route": True}):
        table.add(control(**target), 10)
        assert not table.covers(request(at_ms, "a"), "a")


def test_a_route_may_be_cancelled_at_any_time_and_until_the_horizon() -> None:
    table = Cancellations("chat", horizon_ms=100)
    table.add(control(whole_route=True), 0)
    assert len(table) == 1
    assert table.covers(request(0), "a")
    table.expire(101)
    assert len(table) == 0
    assert not table.covers(request(0), "a")


def test_a_custom_id_is_no_job() -> None:
    table = Cancellations("chat")
    table.add(control(job="a"), 10)
    assert not table.covers(request(5), "a")
    assert table.covers(request(5, "a"), "b")


def test_memory_is_bounded_and_the_oldest_go_first() -> None:
    table = Cancellations("chat", max_targets=10)
    for number in range(25):
        table.add(control(custom_id=f"r{number}"), number)
    assert len(table) == 10
    assert table.forgotten_targets == 15
    assert not table.covers(request(0), "r14")
    assert table.covers(request(0), "r15")


def test_what_is_beyond_the_horizon_is_forgotten() -> None:
    table = Cancellations("chat", horizon_ms=100)
    table.add(control(custom_id="a"), 50)
    table.add(control(whole_route=True), 60)
    table.add(control(job="b"), 160)
    table.expire(159)
    assert len(table) == 2
    table.expire(161)
    assert len(table) == 1
