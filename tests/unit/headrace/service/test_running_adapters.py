"""When a change of adapters is live, and what else of a model's application stays as it is."""

from typing import Any

import pytest
from ray.serve._private.build_app import build_app

from headrace.service.adapters import _has_applied, _without_start
from headrace.service.app import application_of
from headrace.service.applications import ApplicationSpec, specs_of
from headrace.service.changes import Action, RunningApplication, plan
from schemas.settings.file import KafkaSettings, Settings


def chat_spec(**generator: Any) -> ApplicationSpec:
    settings = Settings.model_validate(
        {
            "models": {"chat": {"kind": "generator", "source": "path:/base", **generator}},
            "routes": {
                "chat": {
                    "model": "chat",
                    "requests_topic": "requests",
                    "results_topic": "results",
                    "dead_letters_topic": "dead-letters",
                    "group": "chat",
                }
            },
        }
    )
    return next(each for each in specs_of(settings) if each.name == "headrace-model-chat")


ROOM = {"engine_args": {"max_loras": 2}}
POET = {"adapters": {"poet": "path:/poet"}}
BOTH = {"adapters": {"poet": "path:/poet", "legal": "path:/legal"}}


@pytest.mark.parametrize(
    ("before", "after", "action", "reason"),
    [
        (POET, BOTH, Action.LIVE, 'adapters.legal: default -> "path:/legal"'),
        (BOTH, POET, Action.LIVE, 'adapters.legal: "path:/legal" -> default'),
        ({**ROOM}, {**ROOM, **POET}, Action.LIVE, 'adapters.poet: default -> "path:/poet"'),
        ({**ROOM, **POET}, {**ROOM}, Action.LIVE, 'adapters.poet: "path:/poet" -> default'),
        # An engine that has no room for any must start again.
        ({}, POET, Action.RESTART, "takes_adapters: default -> true"),
        (POET, {}, Action.RESTART, "takes_adapters: true -> default"),
    ],
)
def test_adapters_change_live_where_there_is_room(
    before: dict[str, Any], after: dict[str, Any], action: Action, reason: str
) -> None:
    was, will_be = chat_spec(**before), chat_spec(**after)
    running = RunningApplication(
        built=was.built, live=was.live, options=was.options, version=was.version
    )
    (change,) = plan({was.name: running}, [will_be])
    assert change.action is action
    assert reason in change.reasons
    assert (was.version == will_be.version) == (action is Action.LIVE)


def test_a_replica_knows_that_it_needs_room_before_it_knows_for_which_adapters() -> None:
    (deployment,) = build_app(
        application_of(chat_spec(**POET), KafkaSettings()), name="x"
    ).deployments
    arguments: Any = deployment.init_kwargs
    assert arguments["takes_adapters"] is True
    assert arguments["settings"].adapters == {}
    assert deployment._deployment_config.user_config["live"] == POET
    (plain,) = build_app(application_of(chat_spec(), KafkaSettings()), name="x").deployments
    assert "takes_adapters" not in plain.init_kwargs


def test_the_number_of_replicas_stays_what_the_load_made_it() -> None:
    spec = chat_spec(replicas=2, autoscaling={"max_replicas": 4})
    assert spec.options["autoscaling_config"]["initial_replicas"] == 2
    kept = _without_start(spec.options)
    assert "initial_replicas" not in kept["autoscaling_config"]
    assert kept["autoscaling_config"]["max_replicas"] == 4
    assert spec.options["autoscaling_config"]["initial_replicas"] == 2
    fixed = chat_spec(replicas=2).options
    assert _without_start(fixed) == dict(fixed)


@pytest.mark.parametrize(
    ("loaded", "problems", "has_applied"),
    [
        ({"a": "path:/1", "b": "path:/2"}, {}, True),
        ({"a": "path:/1"}, {"b": "no room"}, True),
        ({"a": "path:/1"}, {}, False),
        ({"a": "path:/1", "b": "path:/old"}, {}, False),
        ({"a": "path:/1", "b": "path:/2", "c": "path:/3"}, {}, False),
    ],
)
def test_a_replica_has_taken_a_change_over_when_it_has_all_or_says_why_not(
    loaded: dict[str, str], problems: dict[str, str], has_applied: bool
) -> None:
    replica = {"replica": "r", "loaded": loaded, "problems": problems}
    assert _has_applied(replica, {"a": "path:/1", "b": "path:/2"}) is has_applied
