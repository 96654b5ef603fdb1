"""A stop is given the time that replicas were promised, and no more."""

from types import SimpleNamespace

import pytest

from headrace.service import stopping
from headrace.service.stop_times import consumer_stop_timeout_s, service_stop_timeout_s
from headrace.service.stopping import delete_applications
from headrace.settings.file import parse_settings
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


NAMES = (
    "headrace",
    "headrace-model-quick",
    "headrace-route-a",
    "headrace-route-d",
    "somebody-elses",
)


def settings_with(slow_s: float) -> Settings:
    return parse_settings(TEXT.replace("SLOW", str(slow_s)).encode())


class FakeServe:
    """Forgets each application ``stops_after_s`` after it was told to delete it."""

    def __init__(self, stops_after_s: float) -> None:
        self.now_s = 100.0
        self._stops_after_s = stops_after_s
        self._gone_at_s = dict.fromkeys(NAMES, float("inf"))
        self.deleted: list[tuple[str, float]] = []

    def delete(self, name: str, _blocking: bool = True) -> None:
        assert not _blocking
        self.deleted.append((name, self.now_s - 100.0))
        self._gone_at_s[name] = self.now_s + self._stops_after_s

    def status(self) -> SimpleNamespace:
        there = {name for name, gone_at_s in self._gone_at_s.items() if self.now_s < gone_at_s}
        return SimpleNamespace(applications=dict.fromkeys(there, "DELETING"))

    def monotonic(self) -> float:
        return self.now_s

    def epoch_ms(self) -> int:
        return int(self.now_s * 1000)

    def pause(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.mark.parametrize(("stops_after_s", "is_gone"), [(0, True), (29, True), (1_000, False)])
def test_a_stop_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, stops_after_s: float, is_gone: bool
) -> None:
    fake = FakeServe(stops_after_s)
    monkeypatch.setattr(stopping, "serve", fake)

    assert delete_applications(90.0, clock=fake, pause=fake.pause) is is_gone
    assert fake.now_s - 100.0 == pytest.approx(min(3 * stops_after_s, 90.0), abs=0.7)
    assert {name for name, _ in fake.deleted} == set(NAMES) - {"somebody-elses"}


def test_routes_stop_before_the_models_that_they_call(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeServe(10.0)
    monkeypatch.setattr(stopping, "serve", fake)

    assert delete_applications(90.0, clock=fake, pause=fake.pause)

    at_s = dict(fake.deleted)
    assert at_s["headrace-route-a"] == at_s["headrace-route-d"] == 0.0
    assert at_s["headrace-model-quick"] == pytest.approx(10.0, abs=0.3)
    assert at_s["headrace"] == pytest.approx(20.0, abs=0.5)


def test_only_what_is_named_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeServe(1.0)
    monkeypatch.setattr(stopping, "serve", fake)

    names = ["headrace-model-quick", "headrace-route-a"]
    assert delete_applications(90.0, names, clock=fake, pause=fake.pause)

    assert sorted(name for name, _ in fake.deleted) == names


def test_the_slowest_replica_sets_the_time() -> None:
    settings = settings_with(60)

    assert consumer_stop_timeout_s(settings.routes["a"]) == 30 + 30 + 15
    assert consumer_stop_timeout_s(settings.routes["d"]) == 40 + 20 + 15
    assert service_stop_timeout_s(settings) == 75 + 30
    assert service_stop_timeout_s(settings_with(200)) == 200 + 30
