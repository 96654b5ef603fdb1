"""Carries out a plan on the Serve that this process is connected to."""

import threading
from collections.abc import Callable, Sequence

from ray import serve

from headrace.service.app import application_of
from headrace.service.applications import ApplicationSpec
from headrace.service.changes import Action, Change
from headrace.service.running import error_of, serve_details
from headrace.service.stopping import delete_applications
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
        _wait([spec.name for spec in deployed if spec.calls])
        say(f"Draining and deleting: {', '.join(each.title for each in removed)}")
        names = [each.application for each in removed]
        if not delete_applications(stop_timeout_s, names):
            say(f"Serve: they have not stopped within {stop_timeout_s:g} s, and go on stopping")
    return _wait([spec.name for spec in deployed])


def _wait(names: Sequence[str]) -> dict[str, str]:
    """Wait until each application runs or has failed to start; return why, of those that failed."""
    pause = threading.Event().wait
    while True:
        details = serve_details()
        failures = {name: error_of(details[name]) for name in names if name in details}
        if all(
            name not in details or failures[name] or details[name]["status"] == "RUNNING"
            for name in names
        ):
            return {name: error for name, error in failures.items() if error}
        pause(_POLL_INTERVAL_S)
