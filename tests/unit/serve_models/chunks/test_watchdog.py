import pytest

from serve_models.chunks.watchdog import Patience, SilenceWatch, Watchdog

PATIENCE = Patience(least_s=60.0, first_s=600.0, multiple=20.0)


def test_the_first_piece_of_work_gets_more() -> None:
    watchdog = Watchdog(PATIENCE)
    watchdog.began("a", 0.0)
    assert watchdog.overdue_s(600.0) is None
    assert watchdog.overdue_s(601.0) == 601.0


def test_what_is_quick_gets_a_minute() -> None:
    watchdog = Watchdog(PATIENCE)
    watchdog.began("a", 0.0)
    watchdog.finished("a", 0.1)
    watchdog.began("b", 10.0)
    assert watchdog.overdue_s(70.0) is None
    assert watchdog.overdue_s(70.1) == pytest.approx(60.1)
    watchdog.finished("b", 80.0)
    assert watchdog.overdue_s(1_000_000.0) is None


def test_what_is_slow_gets_many_times_the_slowest_of_its_size() -> None:
    watchdog = Watchdog(PATIENCE)
    watchdog.began("a", 0.0, size=100)
    watchdog.finished("a", 10.0)
    watchdog.began("short", 10.0, size=10)
    watchdog.began("long", 10.0, size=1000)
    assert watchdog.overdue_s(10.0 + 60.0) is None
    assert watchdog.overdue_s(10.0 + 61.0) == pytest.approx(61.0)
    watchdog.dropped("short")
    assert watchdog.overdue_s(10.0 + 2000.0) is None
    assert watchdog.overdue_s(10.0 + 2001.0) == pytest.approx(2001.0)


def test_something_that_was_slow_once_is_forgotten() -> None:
    watchdog = Watchdog(PATIENCE)
    watchdog.began("compiles", 0.0)
    watchdog.finished("compiles", 300.0)
    for number in range(1000):
        watchdog.began(number, 300.0)
        watchdog.finished(number, 300.1)
    watchdog.began("hangs", 400.0)
    assert watchdog.overdue_s(400.0 + 61.0) is not None


def test_several_pieces_are_watched_each_for_itself() -> None:
    watchdog = Watchdog(PATIENCE)
    watchdog.began("hangs", 0.0)
    for number in range(700):
        watchdog.began(number, float(number))
        watchdog.finished(number, number + 0.5)
    assert watchdog.overdue_s(700.0) == 700.0


def test_silence_counts_while_there_is_a_request_only() -> None:
    watch = SilenceWatch(PATIENCE)
    watch.opened(0.0)
    watch.opened(1.0)
    watch.heard(2.0)
    watch.closed()
    assert watch.silent_s(62.0) is None
    assert watch.silent_s(63.0) == 61.0
    watch.closed()
    assert watch.silent_s(1000.0) is None
    watch.heard(1001.0)
    watch.opened(2000.0)
    assert watch.silent_s(2060.0) is None
    assert watch.silent_s(2061.0) == 61.0


def test_a_sign_of_life_teaches_nothing_of_how_long_work_takes() -> None:
    watch = SilenceWatch(PATIENCE)
    watch.opened(0.0)
    watch.alive(0.1)
    assert watch.silent_s(600.0) is None
    watch.alive(600.0)
    assert watch.silent_s(1200.0) is None
    assert watch.silent_s(1201.0) == 601.0
    watch.closed()
    watch.alive(1202.0)
    assert watch.silent_s(9999.0) is None
