"""The breaker: when it opens, when a probe goes out, and whom a failure counts against."""

from handoff.breaker import (
    BLAMES_RECORDS_AFTER_S,
    FAILURES_TO_OPEN,
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    CircuitBreaker,
)


def open_breaker(lived_s: float) -> CircuitBreaker:
    breaker = CircuitBreaker()
    for _ in range(FAILURES_TO_OPEN):
        breaker.call_failed(0.0, lived_s)
    assert breaker.is_open
    return breaker


def test_a_call_has_outlived_what_failed_after_twice_its_time() -> None:
    assert open_breaker(0.1).outlived_s == LONGEST_PAUSE_S
    breaker = open_breaker(20.0)
    assert breaker.outlived_s == 40.0
    breaker.answered(1.0)
    assert breaker.outlived_s == LONGEST_PAUSE_S


def test_one_probe_goes_out_after_a_pause_that_grows_and_any_answer_closes_it() -> None:
    breaker = open_breaker(0.0)
    now_s = 0.0
    for pause_s in (FIRST_PAUSE_S, 1.0, 2.0, 4.0, LONGEST_PAUSE_S, LONGEST_PAUSE_S):
        assert breaker.next_probe_at_s() == now_s + pause_s
        assert not breaker.may_call(now_s, 0)
        now_s += pause_s
        assert breaker.may_call(now_s, 0)
        assert not breaker.may_call(now_s, 1)
        breaker.call_failed(now_s)
    breaker.answered(now_s)
    assert breaker.next_probe_at_s() is None
    assert breaker.may_call(now_s, 1)


def test_while_open_a_failure_counts_only_against_what_failed_while_others_were_answered() -> None:
    breaker = CircuitBreaker()
    breaker.answered(10.0)
    for _ in range(FAILURES_TO_OPEN):
        assert breaker.blames(20.0, 20.0)
        breaker.call_failed(20.0)
    assert breaker.blames(5.0, 30.0)
    assert not breaker.blames(20.0, 30.0)
    assert breaker.blames(20.0, 20.0 + BLAMES_RECORDS_AFTER_S)
