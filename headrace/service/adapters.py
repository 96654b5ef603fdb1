"""Changes the LoRA adapters of a running generator, in all of its replicas.

The process must be connected to Ray. Adapters are live settings of the model's application, so
replicas that start later have them too.
"""

import threading
from collections.abc import Iterable, Mapping
from typing import Any

import ray
from ray import serve

from handoff.clock import Clock, SystemClock
from headrace.errors import ServiceError, UserError
from headrace.service.app import bound, handle_of_model
from headrace.service.applications import (
    MODEL_PREFIX,
    model_application_name,
    model_deployment_name,
)
from headrace.service.changes import Action, Change, RunningApplication
from headrace.service.deploying import wait_until_they_run
from headrace.service.running import running_applications, serve_details
from headrace.settings.problems import alternatives

_ASK_TIMEOUT_S = 120.0
"""A replica may have to read an adapter from a slow disk."""
_LOAD_TIMEOUT_S = 600.0
_POLL_INTERVAL_S = 0.5
_RUNNING, _UPDATING = "RUNNING", "UPDATING"
"""Serve's states of replicas that answer; the second takes a change over."""


class RunningAdapters:
    """The adapters of one model that runs; raises ``UserError`` if it takes none."""

    def __init__(self, model: str, clock: Clock | None = None) -> None:
        self.model = model
        self._clock = clock or SystemClock()
        self._pause = threading.Event().wait
        self._running = _running_generator(model)

    @property
    def sources(self) -> dict[str, str]:
        """What the model's settings have now, by name."""
        return dict(self._running.live.get("adapters", {}))

    def replicas(self) -> list[dict[str, Any]]:
        """Ask each replica what it has: ``replica``, ``loaded``, ``problems``."""
        return self._ask("adapters")

    def problems(self) -> list[str]:
        """Return why adapters of the settings cannot be used, once all replicas have tried."""
        self._wait_for(self.sources)
        found = {
            f"models.{self.model}.adapters.{name}: {problem}"
            for replica in self.replicas()
            for name, problem in replica["problems"].items()
        }
        return sorted(found)

    def add(self, name: str, source: str, *, replaces: bool = False) -> None:
        """Load an adapter everywhere.

        Each replica is asked first. If one cannot load it, ``UserError`` says why, and the others
        do not keep it either.
        """
        self._check_may_change()
        sources = self.sources
        if sources.get(name) == source:
            raise UserError(f"models.{self.model}.adapters.{name}: {source} is there already")
        if name in sources and not replaces:
            raise UserError(
                f"models.{self.model}.adapters.{name}: it is there, from {sources[name]}; "
                "--replace puts this one in its place"
            )
        problems = [each for each in self._ask("adapter_problem", name, source) if each]
        if problems:
            raise UserError(self._describe(name, problems))
        self._change({**sources, name: source})
        problems = [each["problems"][name] for each in self.replicas() if name in each["problems"]]
        if problems:
            self._change(sources)
            raise UserError(self._describe(name, problems))

    def remove(self, name: str) -> None:
        """Take an adapter out everywhere; requests under way finish with it."""
        self._check_may_change()
        sources = self.sources
        if name not in sources:
            raise UserError(
                f"models.{self.model}.adapters: no adapter '{name}'{alternatives(name, sources)}"
            )
        del sources[name]
        self._change(sources)

    def _check_may_change(self) -> None:
        if self._running.is_declared:
            # What deploys it would undo the change.
            raise ServiceError(
                "a config file deploys what runs here (of a RayService, or by `serve deploy`): "
                f"change models.{self.model}.adapters in the settings, `headrace render` them and "
                "apply that; replicas take it over without a restart"
            )

    def _describe(self, name: str, problems: list[str]) -> str:
        more = f" (so say {len(problems)} replicas)" if len(problems) > 1 else ""
        return f"models.{self.model}.adapters.{name}: {problems[0]}{more}; nothing was changed"

    def _change(self, sources: Mapping[str, str]) -> None:
        running = self._running
        live = {key: value for key, value in running.live.items() if key != "adapters"}
        if sources:
            live["adapters"] = dict(sources)
        name = model_application_name(self.model)
        options = {
            "name": model_deployment_name(self.model),
            "user_config": {
                "live": live,
                "built": running.built,
                "options": running.options,
                "version": running.version,
            },
            **_without_start(running.options),
        }
        application = bound(name, running.built, None, options, running.version)
        serve.run_many(
            [serve.RunTarget(target=application, name=name, route_prefix=None)],
            wait_for_ingress_deployment_creation=False,
            wait_for_applications_running=False,
        )
        failures = wait_until_they_run({name: running.version}, lambda _: None)
        if failures:
            raise ServiceError(f"model {self.model} does not run: {failures[name]}")
        self._wait_for(sources)
        self._running = _running_generator(self.model)
        if self.sources != dict(sources):
            raise ServiceError(
                f"models.{self.model}.adapters: another command or `headrace up` changed them at "
                "the same time; see `headrace models list-adapters`, and run this one again"
            )

    def _wait_for(self, sources: Mapping[str, str]) -> None:
        """Wait until every replica has loaded what it should, or says why it could not."""
        give_up_s = self._clock.monotonic() + _LOAD_TIMEOUT_S
        while True:
            if all(_has_applied(each, sources) for each in self.replicas()):
                return
            if self._clock.monotonic() > give_up_s:
                raise ServiceError(
                    f"models.{self.model}.adapters: after {_LOAD_TIMEOUT_S:g} s some replicas have "
                    "not taken the change over; see `serve status` and their logs"
                )
            self._pause(_POLL_INTERVAL_S)

    def _ask(self, method: str, *arguments: object) -> list[Any]:
        """Call a method of every replica that runs."""
        handle = handle_of_model(self.model)
        give_up_s = self._clock.monotonic() + _ASK_TIMEOUT_S
        while True:
            try:
                answers = handle.broadcast(method, *arguments).results(timeout_s=_ASK_TIMEOUT_S)
            except (serve.exceptions.RayServeException, ray.exceptions.RayError) as error:
                # Replicas come and go; a new handle has to learn of them first.
                answers, why = [], str(error)
            except TimeoutError:
                answers, why = [], "they do not answer"
            else:
                why = "not all of them answer"
            states = _replica_states(self.model)
            if answers and len(answers) >= states.count(_RUNNING):
                return answers
            if not {_RUNNING, _UPDATING} & set(states):
                raise ServiceError(f"no replica of model {self.model} runs; see `headrace status`")
            if self._clock.monotonic() > give_up_s:
                raise ServiceError(f"the replicas of model {self.model} cannot be asked: {why}")
            self._pause(_POLL_INTERVAL_S)


def adapter_problems(changes: Iterable[Change]) -> list[str]:
    """Return what keeps adapters out of models whose adapters have just changed live.

    A replica that starts with one that it cannot load does not start.
    """
    models = [
        change.application.removeprefix(MODEL_PREFIX)
        for change in changes
        if change.action is Action.LIVE
        and any(reason.startswith("adapters.") for reason in change.reasons)
    ]
    found = []
    for model in models:
        try:
            found += RunningAdapters(model).problems()
        except ServiceError as error:
            found.append(f"models.{model}.adapters: {error}")
    return found


def _has_applied(replica: Mapping[str, Any], sources: Mapping[str, str]) -> bool:
    loaded, problems = replica["loaded"], replica["problems"]
    return set(loaded) | set(problems) == set(sources) and all(
        sources[name] == source for name, source in loaded.items()
    )


def _running_generator(model: str) -> RunningApplication:
    applications = running_applications()
    models = [
        name.removeprefix(MODEL_PREFIX) for name in applications if name.startswith(MODEL_PREFIX)
    ]
    if model not in models:
        raise UserError(f"no model '{model}' runs here{alternatives(model, models)}")
    running = applications[model_application_name(model)]
    kind = running.built.get("settings", {}).get("kind")
    if kind != "generator":
        raise UserError(f"models.{model}: only generators have adapters, and this is a {kind}")
    if running.error is not None:
        raise ServiceError(f"model {model} does not run: {running.error}")
    return running


def _replica_states(model: str) -> list[str]:
    details = serve_details().get(model_application_name(model), {})
    deployments = details.get("deployments", {})
    replicas = deployments.get(model_deployment_name(model), {}).get("replicas", [])
    return [str(getattr(each["state"], "value", each["state"])) for each in replicas]


def _without_start(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return Serve's options such that the number of replicas stays what it is."""
    kept = dict(options)
    if "autoscaling_config" in kept:
        scaling = dict(kept["autoscaling_config"])
        scaling.pop("initial_replicas", None)
        kept["autoscaling_config"] = scaling
    return kept
