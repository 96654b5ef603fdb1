"""What a change of settings does to what runs: nothing, live, a restart, more or less of it."""

from typing import Any

import pytest
import yaml

from headrace.service.applications import specs_of
from headrace.service.changes import Action, Change, RunningApplication, plan, plan_lines
from headrace.settings.file import parse_settings

TEXT = """\
kafka: {bootstrap: "kafka:9092", sasl: {username: me, password: hush}}
models:
  minilm: {kind: embedder, source: "path:/x"}
  guard: {kind: classifier, source: "path:/y", autoscaling: {max_replicas: 4}}
  mine: {kind: custom, import_path: "a:B", urls: [/v1/x]}
  guarded:
    kind: pipeline
    urls: [/v1/x]
    answer: two
    steps:
      one: {model: guard, url: /classify}
      two: {model: mine, after: [one]}
routes:
  texts: {model: minilm, requests_topic: a, results_topic: b, dead_letters_topic: c, group: g}
  chats:
    model: guarded
    requests_topic: d
    results_topic: e
    dead_letters_topic: f
    group: g
    flow: {max_records: 500}
"""


D = "default ->"


def values() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(TEXT)
    return loaded


def specs(content: dict[str, Any]) -> Any:
    return specs_of(parse_settings(yaml.safe_dump(content, sort_keys=False).encode()))


def running(content: dict[str, Any], **errors: str) -> dict[str, RunningApplication]:
    """Return what runs after these settings were deployed."""
    return {
        spec.name: RunningApplication(
            built=spec.built,
            live=spec.live,
            options=spec.options,
            version=spec.version,
            error=errors.get(spec.deployment.replace("-", "_")),
        )
        for spec in specs(content)
    }


def with_value(path: str, value: Any) -> dict[str, Any]:
    content = values()
    section = content
    *parents, key = path.split("/")
    for parent in parents:
        section = section.setdefault(parent, {})
    if value is None:
        del section[key]
    else:
        section[key] = value
    return content


def changed(changes: list[Change]) -> dict[str, tuple[Action, tuple[str, ...]]]:
    return {
        each.title: (each.action, each.reasons)
        for each in changes
        if each.action is not Action.UNCHANGED
    }


def test_models_are_deployed_before_those_that_call_them_and_routes_last() -> None:
    assert [each.title for each in plan({}, specs(values()))] == [
        "status",
        "model minilm",
        "model guard",
        "model mine",
        "model guarded",
        "route texts",
        "route chats",
        "console",
    ]
    assert {each.action for each in plan({}, specs(values()))} == {Action.ADD}


def test_the_same_settings_change_nothing() -> None:
    changes = plan(running(values()), specs(values()))

    assert changed(changes) == {}
    names = [each.title for each in changes]
    assert plan_lines(changes) == [f"unchanged: {', '.join(names)}"]


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (
            "routes/texts/limits",
            {"max_request_bytes": 99},
            {"route texts": (Action.LIVE, ("limits.max_request_bytes: default -> 99",))},
        ),
        (
            "routes/chats/flow",
            None,
            {"route chats": (Action.LIVE, ("flow.max_records: 500 -> default",))},
        ),
        (
            "routes/texts/retry",
            {"max_attempts": 2, "attempt_timeout_s": 60.0},
            {
                "route texts": (
                    Action.RESTART,
                    (
                        "retry.attempt_timeout_s: default -> 60.0",
                        "retry.max_attempts: default -> 2",
                    ),
                )
            },
        ),
        (
            "models/minilm/token_budget_tokens",
            512,
            {"model minilm": (Action.LIVE, ("token_budget_tokens: default -> 512",))},
        ),
        (
            "models/minilm/prompts",
            {"query": "find: "},
            {"model minilm": (Action.LIVE, ('prompts.query: default -> "find: "',))},
        ),
        (
            "models/minilm/replicas",
            3,
            {"model minilm": (Action.LIVE, ("replicas: 1 -> 3",))},
        ),
        (
            "models/guard/autoscaling/max_replicas",
            9,
            {
                "model guard": (Action.LIVE, ("autoscaling.max_replicas: 4 -> 9",)),
                "status": (
                    Action.LIVE,
                    ("scaling.model-guard.settings.max_replicas: 4 -> 9",),
                ),
            },
        ),
        (
            "models/guard/autoscaling/drain_target_s",
            9.0,
            {
                "status": (
                    Action.LIVE,
                    ("scaling.model-guard.settings.drain_target_s: default -> 9.0",),
                )
            },
        ),
        (
            "models/minilm/source",
            "path:/z",
            {"model minilm": (Action.RESTART, ('source: "path:/x" -> "path:/z"',))},
        ),
        (
            "models/mine/urls",
            ["/v1/x", "/v1/y"],
            {"model mine": (Action.RESTART, ('urls: ["/v1/x"] -> ["/v1/x","/v1/y"]',))},
        ),
        (
            "routes/texts/ordering",
            "key",
            {"route texts": (Action.RESTART, ('ordering: default -> "key"',))},
        ),
        ("routes/texts/topics", {"partitions": 9}, {}),
        (
            "routes/more",
            {
                "model": "minilm",
                "requests_topic": "x",
                "results_topic": "y",
                "dead_letters_topic": "z",
                "group": "g",
            },
            {"route more": (Action.ADD, ())},
        ),
        (
            "routes/texts",
            None,
            {"route texts": (Action.REMOVE, ()), "model minilm": (Action.REMOVE, ())},
        ),
    ],
)
def test_a_change_concerns_what_depends_on_it(
    path: str, value: Any, expected: dict[str, tuple[Action, tuple[str, ...]]]
) -> None:
    assert changed(plan(running(values()), specs(with_value(path, value)))) == expected


def test_another_password_is_in_no_plan_and_another_file_of_it_restarts() -> None:
    """Replicas take a password from their environment: nothing is known of it here."""
    assert (
        changed(plan(running(values()), specs(with_value("kafka/sasl/password", "louder")))) == {}
    )

    sasl = {"username": "bob", "password_file": "/run/secrets/kafka"}
    changes = plan(running(values()), specs(with_value("kafka/sasl", sasl)))
    found = changed(changes)
    assert set(found) == {"status", "route texts", "route chats", "console"}
    assert {action for action, _ in found.values()} == {Action.RESTART}
    assert "hush" not in str(changes)


def test_a_section_that_switches_something_on_counts_though_it_is_empty() -> None:
    wanted = specs(with_value("kafka/tls", {}))

    found = changed(plan(running(values()), wanted))

    assert set(found) == {"status", "route texts", "route chats", "console"}
    assert set(found.values()) == {(Action.RESTART, ("kafka.tls: default -> {}",))}
    filled = running(with_value("kafka/tls", {"check_hostname": False}))
    assert set(changed(plan(filled, wanted)).values()) == {
        (Action.RESTART, ("kafka.tls.check_hostname: false -> default",))
    }


@pytest.mark.parametrize("section", ["flow", "limits", "retry", "membership"])
def test_an_empty_section_of_defaults_changes_nothing(section: str) -> None:
    wanted = specs(with_value(f"routes/texts/{section}", {}))

    assert changed(plan(running(values()), wanted)) == {}


def test_routes_are_removed_before_the_models_that_they_call() -> None:
    changes = plan(running(values()), specs(with_value("routes/texts", None)))

    removed = [each.title for each in changes if each.action is Action.REMOVE]
    assert removed == ["route texts", "model minilm"]


def test_what_failed_to_start_is_started_again_as_another_version() -> None:
    failed = running(values(), model_mine="Traceback\nRuntimeError: no weights")

    [change] = [each for each in plan(failed, specs(values())) if each.action is Action.RESTART]

    assert change.title == "model mine"
    assert change.reasons == ("it does not run: RuntimeError: no weights",)
    [spec] = [each for each in specs(values()) if each.deployment == "model-mine"]
    assert change.version == f"{spec.version}.1"


def test_a_live_change_keeps_the_version_of_what_was_started_again() -> None:
    now = running(values())
    again = RunningApplication(
        built=now["headrace-model-mine"].built,
        live={},
        options=now["headrace-model-mine"].options,
        version="abc.1",
    )
    wanted = specs(with_value("models/mine/replicas", 2))

    changes = plan({**now, "headrace-model-mine": again}, wanted)

    [change] = [each for each in changes if each.title == "model mine"]
    assert (change.action, change.version) == (Action.LIVE, "abc.1")


def test_a_plan_is_told_in_lines() -> None:
    wanted = specs(with_value("models/minilm/source", "path:/z"))

    lines = plan_lines(plan(running(values()), wanted))

    assert lines[0] == 'restart: model minilm (source: "path:/x" -> "path:/z")'
    assert lines[1].startswith("unchanged: status, model guard")
