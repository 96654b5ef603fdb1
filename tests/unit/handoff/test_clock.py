"""The clocks before and after the machine was asleep."""

import time

import pytest

from handoff.clock import AwakeClock, SystemClock


def test_only_the_clock_of_sessions_counts_the_time_asleep(monkeypatch: pytest.MonkeyPatch) -> None:
    read = time.clock_gettime  # noqa: TID251 -- what the clocks read is replaced
    asleep_s = 3600.0
    before_s = SystemClock().monotonic(), AwakeClock().monotonic()
    monkeypatch.setattr(time, "clock_gettime", lambda clock: read(clock) + asleep_s)
    assert SystemClock().monotonic() - before_s[0] >= asleep_s
    assert AwakeClock().monotonic() - before_s[1] < asleep_s
