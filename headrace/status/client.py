"""Asks the status board of a running service."""

import logging
import os
from collections.abc import Collection
from typing import Any

import ray
from ray import serve

from consumer.autoscaling.kv import reported_decisions
from consumer.replica.reports import RouteStatus
from headrace.errors import ServiceError
from headrace.service.applications import (
    STATUS_APPLICATION,
    deployment_name,
    kind_of,
    model_deployment_name,
)
from headrace.service.deployment_lines import failure_line, missing_replicas
from serve_models.replicas.runs_on import reported_runs_on

STATUS_TIMEOUT_S = 5.0


def read_statuses() -> dict[str, RouteStatus]:
    """Ask the status board of the connected service; raises ``ServiceError`` without an answer."""
    try:
        handle = serve.get_app_handle(STATUS_APPLICATION)
        answer = handle.routes.remote().result(timeout_s=STATUS_TIMEOUT_S)
    except (serve.exceptions.RayServeException, TimeoutError, ray.exceptions.RayError) as error:
        raise ServiceError(f"the status board does not answer: {error}") from error
    return {name: RouteStatus.from_dict(values) for name, values in answer.items()}


def read_decisions() -> dict[str, str]:
    """Return the latest scaling decision of each deployment, as a line of text.

    Raises ``ServiceError`` if Ray does not answer.
    """
    running = _deployments(_applications())
    try:
        decisions = reported_decisions()
    except ray.exceptions.RayError as error:
        raise ServiceError(f"Ray does not have the scaling decisions: {error}") from error
    # The store outlives a service: decisions of an earlier one are left out.
    return {name: str(each["text"]) for name, each in decisions.items() if name in running}


def read_runs_on() -> dict[str, list[str]]:
    """Return what each model's replicas chose by themselves: a device, a number format, and so on.

    Raises ``ServiceError`` if Ray does not answer.
    """
    running = _deployments(_applications())
    try:
        reported = reported_runs_on()
    except ray.exceptions.RayError as error:
        raise ServiceError(f"Ray does not know what the models run on: {error}") from error
    # As for decisions.
    return {
        model: facts for model, facts in reported.items() if model_deployment_name(model) in running
    }


def read_deployments() -> dict[str, str]:
    """Return a line for each deployment that has fewer replicas running than it should have.

    Raises ``ServiceError`` if Serve does not answer, or runs nothing of ours.
    """
    applications = _applications()
    lines = {
        name: missing_replicas(
            str(each.status.value),
            # Enumeration members or their names: Serve answers with either.
            {str(getattr(state, "value", state)): n for state, n in each.replica_states.items()},
            each.message,
        )
        for name, each in _deployments(applications).items()
    }
    # An application that cannot be built of a config file has no deployment.
    for name, application in applications.items():
        if not application.deployments and application.message:
            lines[deployment_name(name)] = failure_line(application.message)
    return {name: line for name, line in lines.items() if line is not None}


def _deployments(applications: dict[str, Any]) -> dict[str, Any]:
    return {
        name: deployment
        for application in applications.values()
        for name, deployment in application.deployments.items()
    }


def _applications() -> dict[str, Any]:
    try:
        applications = serve.status().applications
    except (serve.exceptions.RayServeException, ray.exceptions.RayError) as error:
        raise ServiceError(f"Serve does not answer: {error}") from error
    ours = {name: each for name, each in applications.items() if kind_of(name) is not None}
    if not ours:
        raise ServiceError("no service runs on this Ray; `headrace up` starts one")
    return ours


def quiet_ray(loggers: Collection[str] = ("ray", "ray.serve")) -> None:
    """Turn off Ray's own output on the screen, and its usage reports."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    for name in loggers:
        logging.getLogger(name).setLevel(logging.WARNING)
