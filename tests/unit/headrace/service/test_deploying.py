"""A plan is carried out in an order in which nothing waits for ever; Serve is faked."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from headrace.service import deploying
from headrace.service.applications import specs_of
from headrace.service.changes import RunningApplication, plan
from headrace.service.deploying import carry_out
from headrace.service.service import serves_any_route, what_to_do
from headrace.service.waiting.lines import Room
from headrace.settings.file import parse_settings
from schemas.settings.file import KafkaSettings, Settings

TEXT = """\
models:
  a: {kind: custom, import_path: "a:B", urls: [/v1/x]}
  b: {kind: custom, import_path: "a:B", urls: [/v1/x]}
routes:
  one: {model: a, requests_topic: i, results_topic: o, dead_letters_topic: d, group: g}
  two: {model: MODEL, requests_topic: j, results_topic: p, dead_letters_topic: d, group: g}
"""


def settings_with(model: str) -> Settings:
    return parse_settings(TEXT.replace("MODEL", model).encode())


class FakeServe:
    """Runs what it is told to, and keeps what was done in order; ``broken`` fails to start."""

    def __init__(self, broken: str = "") -> None:
        self.done: list[tuple[str, ...]] = []
        self._broken = broken
        self._running: dict[str, str] = {}
        self.late: dict[str, Any] = {}
        self.without_room: set[str] = set()

    def run_many(self, targets: list[Any], **waits: bool) -> None:
        assert not any(waits.values()), "a model that does not come up holds up nothing"
        self.done.append(("run", *(each.name for each in targets)))
        for each in targets:
            self._running[each.name] = each.target

    def RunTarget(self, **fields: Any) -> Any:  # noqa: N802 - Serve's name
        assert fields["route_prefix"] is None
        return SimpleNamespace(**fields)

    def details(self) -> dict[str, Any]:
        found = {}
        self.done.append(("look",))
        if self.late:
            late, self.late = self.late, {}
            return late
        for name, version in self._running.items():
            is_broken = name == self._broken
            message = (
                "A replica failed to start with exception.\nOSError: none" if is_broken else ""
            )
            deployment = {
                "message": message,
                "deployment_config": {"user_config": {"version": version}},
            }
            status = "DEPLOYING" if is_broken or name in self.without_room else "RUNNING"
            assert self.done.count(("look",)) < 9, f"{name} waits for ever"
            found[name] = {"status": status, "message": "", "deployments": {"d": deployment}}
        return found

    def delete(self, _timeout_s: float, names: list[str]) -> bool:
        self.done.append(("delete", *names))
        self.without_room.clear()
        return True


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> FakeServe:
    fake = FakeServe(broken="headrace-model-b")
    monkeypatch.setattr(deploying, "serve", fake)
    monkeypatch.setattr(deploying, "serve_details", fake.details)
    monkeypatch.setattr(deploying, "delete_applications", fake.delete)
    monkeypatch.setattr(deploying, "cluster_room", lambda: Room({}, {}))
    monkeypatch.setattr(deploying, "application_of", lambda _spec, _kafka, version: version)
    return fake


def running(settings: Settings) -> dict[str, RunningApplication]:
    return {
        spec.name: RunningApplication(built=spec.built, live=spec.live, options=spec.options)
        for spec in specs_of(settings)
    }


def test_all_is_deployed_at_once_and_what_fails_is_returned(serve: FakeServe) -> None:
    specs = specs_of(settings_with("b"))

    failures = carry_out(plan({}, specs), specs, KafkaSettings(), stop_timeout_s=1.0, say=print)

    assert serve.done[0] == ("run", *(spec.name for spec in specs))
    assert list(failures) == ["headrace-model-b"]
    assert "OSError: none" in failures["headrace-model-b"]


def test_a_model_is_deleted_when_its_callers_have_changed_and_before_others_are_waited_for(
    serve: FakeServe,
) -> None:
    specs = specs_of(settings_with("a"))
    changes = plan(running(settings_with("b")), specs)

    assert not carry_out(changes, specs, KafkaSettings(), stop_timeout_s=1.0, say=print)

    assert [each for each in serve.done if each != ("look",)] == [
        ("run", "headrace-route-two"),
        ("delete", "headrace-model-b"),
    ]
    assert serve.done[1] == ("look",), "the route has left the model"


def test_what_serve_says_of_an_earlier_version_is_not_the_new_ones_failure(
    serve: FakeServe,
) -> None:
    specs = specs_of(settings_with("a"))
    before = running(settings_with("a"))
    before["headrace-model-a"] = replace(before["headrace-model-a"], error="none", version="old")
    deployment = {
        "message": "A replica failed to start with exception.\nOSError: none",
        "deployment_config": {"user_config": {"version": "old"}},
    }
    serve.late = {
        "headrace-model-a": {
            "status": "DEPLOYING",
            "message": "",
            "deployments": {"d": deployment},
        }
    }

    assert not carry_out(plan(before, specs), specs, KafkaSettings(), stop_timeout_s=1.0, say=print)

    assert serve.done == [("run", "headrace-model-a"), ("look",), ("look",)]


def test_what_is_new_may_wait_for_the_room_of_what_is_removed(
    serve: FakeServe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploying, "_POLL_INTERVAL_S", 0.001)
    specs = specs_of(parse_settings(TEXT.replace("MODEL", "a").replace("two:", "new:").encode()))
    serve.without_room = {"headrace-route-new"}
    changes = plan(running(settings_with("b")), specs)

    assert not carry_out(changes, specs, KafkaSettings(), stop_timeout_s=1.0, say=print)

    assert [each for each in serve.done if each != ("look",)] == [
        ("run", "headrace-route-new"),
        ("delete", "headrace-route-two"),
        ("delete", "headrace-model-b"),
    ]


def test_what_does_not_change_is_not_deployed(serve: FakeServe) -> None:
    specs = specs_of(settings_with("a"))

    carry_out(
        plan(running(settings_with("a")), specs),
        specs,
        KafkaSettings(),
        stop_timeout_s=1.0,
        say=print,
    )

    assert serve.done in ([], [("look",)])


def test_a_service_of_which_one_route_runs_is_up() -> None:
    settings = settings_with("b")
    assert serves_any_route(settings, {"headrace-model-b"})
    assert not serves_any_route(settings, {"headrace-model-b", "headrace-route-one"})
    assert not serves_any_route(settings_with("a"), {"headrace-model-a"})


def test_what_waits_for_a_model_is_named() -> None:
    line = what_to_do("headrace-model-a", specs_of(settings_with("a")))

    assert line.startswith("route one and route two wait for it")
    assert "headrace up" in line
