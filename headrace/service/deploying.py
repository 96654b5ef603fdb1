"""Carries out a plan on the Serve that this process is connected to."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray import serve

from handoff.clock import SystemClock
from headrace.service.app import application_of
from headrace.service.applications import ApplicationSpec, kind_of
from headrace.service.changes import Action, Change
from headrace.service.running import cluster_room, error_of, serve_details
from headrace.service.stopping import delete_applications
from headrace.service.waiting.lines import waiting_line
from headrace.service.waiting.telling import WaitTeller
from schemas.settings.file import KafkaSettings

_POLL_INTERVAL_S = 0.5
_DEPLOYED = (Action.ADD, Action.RESTART, Action.LIVE)


def carry_out(
    changes: Sequence[Change],
    specs: Sequence[ApplicationSpec],
    kafka: KafkaSettings,
    *,
    stop_timeout_s: float,
    say: Callable[[str], None],
) -> dict[str, str]:
    """Deploy what is new or changed, delete what is gone, and wait for all of it.

    Only a model's own callers wait for it, so one that does not start delays nothing else. What is
    gone is deleted, within ``stop_timeout_s``, as soon as nothing calls it any more: a new model
    may need its GPU. ``say`` takes one line on each step, for a person. Returns, by name, why
    applications do not run.
    """
    by_name = {change.application: change for change in changes}
    deployed = [spec for spec in specs if by_name[spec.name].action in _DEPLOYED]
    if deployed:
        serve.run_many(
            [
                serve.RunTarget(
                    target=application_of(spec, kafka, by_name[spec.name].version),
                    name=spec.name,
                    route_prefix=None,
                )
                for spec in deployed
            ],
            wait_for_ingress_deployment_creation=False,
            wait_for_applications_running=False,
        )
    removed = [each for each in changes if each.action is Action.REMOVE]
    if removed:
        say(f"Draining and deleting: {', '.join(each.title for each in removed)}")
        names = [each.application for each in removed]
        routes = [name for name in names if kind_of(name) == "route"]
        # Nothing calls a route: what is new may wait for the room that it has.
        is_gone = not routes or delete_applications(stop_timeout_s, routes)
        if called := [name for name in names if name not in routes]:
            wait_until_they_run(
                {
                    spec.name: by_name[spec.name].version
                    for spec in deployed
                    if spec.calls and by_name[spec.name].action is Action.RESTART
                },
                say,
            )
            is_gone = delete_applications(stop_timeout_s, called) and is_gone
        if not is_gone:
            say(f"Serve: they have not stopped within {stop_timeout_s:g} s, and go on stopping")
    return wait_until_they_run({spec.name: by_name[spec.name].version for spec in deployed}, say)


def wait_until_they_run(versions: Mapping[str, str], say: Callable[[str], None]) -> dict[str, str]:
    """Wait until each application runs or has failed to start; return why, of those that failed.

    ``say`` takes what they wait for.
    """
    pause = threading.Event().wait
    clock = SystemClock()
    teller = WaitTeller(clock.monotonic())
    while True:
        details = serve_details()
        waiting = {name: each for name, each in details.items() if name in versions}
        failures = {
            name: error_of(each)
            for name, each in waiting.items()
            if _is_of_version(each, versions[name])
        }
        if all(failures.get(name) or each["status"] == "RUNNING" for name, each in waiting.items()):
            return {name: error for name, error in failures.items() if error}
        if teller.is_due(now_s := clock.monotonic()):
            room = cluster_room()
            lines = {
                name: line
                for name, each in waiting.items()
                if not failures.get(name) and (line := waiting_line(name, each, room))
            }
            for line in teller.lines(lines, now_s):
                say(f"Serve: {line}")
        pause(_POLL_INTERVAL_S)


def _is_of_version(details: Mapping[str, Any], version: str) -> bool:
    """Tell whether what Serve says of an application is of this version or of an earlier one.

    Serve takes over a new one a moment after the call; until then its messages are the old ones.
    """
    if details["status"] != "DEPLOYING":
        return True
    configs = (each["deployment_config"] for each in details["deployments"].values())
    return any((each.get("user_config") or {}).get("version") == version for each in configs)
