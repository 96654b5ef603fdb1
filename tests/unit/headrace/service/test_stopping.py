"""A stop is given the time that replicas were promised, and no more."""

from types import SimpleNamespace

import pytest

from headrace.service import stopping
from headrace.service.stopping import (
    application_stop_timeout_s,
    consumer_stop_timeout_s,
    delete_application,
)
from headrace.settings.file import parse_settings
from headrace.status.board import APP_NAME
from schemas.settings.file import Settings

TEXT = """\
models:
  quick: {kind: embedder, source: "wheel:x"}
  slow: {kind: embedder, source: "wheel:x", graceful_shutdown_timeout_s: SLOW}
  unused: {kind: embedder, source: "wheel:x", graceful_shutdown_timeout_s: 9000}
routes:
  a: {model: quick, requests_topic: a, results_topic: b, dead_letters_topic: c, group: g}
  d:
    model: slow
    requests_topic: d
    results_topic: e
    dead_letters_topic: f
    group: g
    drain_timeout_s: 40
    membership: {rebalance_timeout_ms: 20000}
"""


def settings_with(slow_s: float) -> Settings:
    return parse_settings(TEXT.replace("SLOW", str(slow_s)).encode())


class FakeServe:
    """Forgets the application ``stops_after_s`` after it was told to delete it."""

    def __init__(self, stops_after_s: float) -> None:
        self.now_s = 100.0
        self._stops_after_s = stops_after_s
        self._gone_at_s = float("inf")

    def delete(self, name: str, _blocking: bool = True) -> None:
        assert name == APP_NAME
        assert not _blocking
        self._gone_at_s = self.now_s + self._stops_after_s

    def status(self) -> SimpleNamespace:
        is_there = self.now_s < self._gone_at_s
        return SimpleNamespace(applications={APP_NAME: "DELETING"} if is_there else {})

    def monotonic(self) -> float:
        return self.now_s

    def epoch_ms(self) -> int:
        return int(self.now_s * 1000)

    def pause(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.mark.parametrize(("stops_after_s", "is_gone"), [(0, True), (74, True), (1_000, False)])
def test_a_stop_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, stops_after_s: float, is_gone: bool
) -> None:
    fake = FakeServe(stops_after_s)
    monkeypatch.setattr(stopping, "serve", fake)

    assert delete_application(90.0, clock=fake, pause=fake.pause) is is_gone
    assert fake.now_s - 100.0 == pytest.approx(min(stops_after_s, 90.0), abs=0.3)


def test_the_slowest_replica_sets_the_time() -> None:
    settings = settings_with(60)

    assert consumer_stop_timeout_s(settings.routes["a"]) == 30 + 30 + 15
    assert consumer_stop_timeout_s(settings.routes["d"]) == 40 + 20 + 15
    assert application_stop_timeout_s(settings) == 75 + 30
    assert application_stop_timeout_s(settings_with(200)) == 200 + 30
