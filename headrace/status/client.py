"""Asks the status board of a running service."""

import logging
import os
from collections.abc import Collection

import ray
from ray import serve

from consumer.autoscaling.kv import reported_decisions
from consumer.replica.reports import RouteStatus
from headrace.errors import ServiceError
from headrace.service.deployment_lines import missing_replicas
from headrace.status.board import APP_NAME

STATUS_TIMEOUT_S = 5.0


def read_statuses() -> dict[str, RouteStatus]:
    """Ask the status board of the application that this process is connected to.

    Raises:
        ServiceError: It does not answer.
    """
    try:
        handle = serve.get_app_handle(APP_NAME)
        answer = handle.routes.remote().result(timeout_s=STATUS_TIMEOUT_S)
    except (serve.exceptions.RayServeException, TimeoutError, ray.exceptions.RayError) as error:
        raise ServiceError(f"the status board does not answer: {error}") from error
    return {name: RouteStatus.from_dict(values) for name, values in answer.items()}


def read_decisions() -> dict[str, str]:
    """Return the latest scaling decision of each deployment that scales, as a line of text.

    Raises:
        ServiceError: Ray does not tell.
    """
    try:
        running = serve.status().applications[APP_NAME].deployments
        decisions = reported_decisions()
    except (KeyError, serve.exceptions.RayServeException, ray.exceptions.RayError) as error:
        raise ServiceError(f"Ray does not tell the scaling decisions: {error}") from error
    # The store outlives a service: what an earlier one decided is nobody's business now.
    return {name: str(decision["text"]) for name, decision in decisions.items() if name in running}


def read_deployments() -> dict[str, str]:
    """Return a line for each deployment that has fewer replicas running than it is to have.

    Raises:
        ServiceError: Serve does not tell.
    """
    try:
        deployments = serve.status().applications[APP_NAME].deployments
    except (KeyError, serve.exceptions.RayServeException, ray.exceptions.RayError) as error:
        raise ServiceError(f"Serve does not tell of its deployments: {error}") from error
    lines = {
        name: missing_replicas(
            str(each.status.value),
            {str(state.value): replicas for state, replicas in each.replica_states.items()},
            each.message,
        )
        for name, each in deployments.items()
    }
    return {name: line for name, line in lines.items() if line is not None}


def quiet_ray(loggers: Collection[str] = ("ray", "ray.serve")) -> None:
    """Keep Ray's own news off the screen, and its usage reports at home."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    for name in loggers:
        logging.getLogger(name).setLevel(logging.WARNING)
