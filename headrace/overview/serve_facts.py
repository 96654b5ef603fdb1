"""What Serve and Ray's store say of the deployments; both may block for a moment."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ray

from consumer.autoscaling.kv import reported_decisions
from headrace.errors import ServiceError
from headrace.overview.facts import DeploymentFacts
from headrace.overview.known import KnownService
from headrace.service.applications import deployment_name, kind_of, model_deployment_name
from headrace.service.deployment_lines import failure_line, missing_replicas
from headrace.service.running import running_of, serve_details
from serve_models.replicas.runs_on import reported_runs_on

_RUNNING, _MISSING = "RUNNING", "MISSING"
_DELETING = "DELETING"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeFacts:
    """What runs.

    Attributes:
        known: The routes and models that are deployed.
        deployments: By name.
        decisions: The latest scaling decisions by deployment.
        runs_on: What models chose by themselves.
    """

    known: KnownService = field(default_factory=KnownService)
    deployments: Mapping[str, DeploymentFacts] = field(default_factory=dict)
    decisions: Mapping[str, str] = field(default_factory=dict)
    runs_on: Mapping[str, list[str]] = field(default_factory=dict)


def read_serve() -> ServeFacts:
    """Ask Serve and Ray's store; raises ``ServiceError`` if one does not answer."""
    try:
        applications = serve_details()
        decisions, runs_on = reported_decisions(), reported_runs_on()
    except (ray.exceptions.RayError, ValueError) as error:
        # ValueError: the controller has just gone.
        raise ServiceError(f"Ray does not answer: {error}") from error
    deployments = deployments_of(applications)
    # The store outlives a service: what it keeps of an earlier one is left out.
    return ServeFacts(
        known=known_of(applications),
        deployments=deployments,
        decisions={
            name: str(each["text"]) for name, each in decisions.items() if name in deployments
        },
        runs_on={
            model: facts
            for model, facts in runs_on.items()
            if model_deployment_name(model) in deployments
        },
    )


def known_of(applications: Mapping[str, Any]) -> KnownService:
    """Return the routes and models of Serve's details, in the order of their deployment."""
    built = [
        running_of(details).built
        for name, details in applications.items()
        if kind_of(name) in ("model", "route")
    ]
    # What could not be built yet says nothing of itself.
    return KnownService.of_applications([each for each in built if "settings" in each])


def deployments_of(applications: Mapping[str, Any]) -> dict[str, DeploymentFacts]:
    """Return the deployments of Serve's details by name."""
    found = {}
    for application_name, application in applications.items():
        is_stopping = application["status"] == _DELETING
        for name, each in application["deployments"].items():
            states = Counter(str(replica["state"]) for replica in each.get("replicas", ()))
            running, target = states[_RUNNING], int(each.get("target_num_replicas", 0))
            counted = {_RUNNING: running, _MISSING: max(0, target - running)}
            found[name] = DeploymentFacts(
                status=str(each["status"]),
                running=running,
                target=target,
                message=each["message"],
                is_stopping=is_stopping,
                lack=missing_replicas(str(each["status"]), counted, each["message"]),
            )
        if not application["deployments"] and application["message"]:
            # It could not be built, and has no deployment.
            found[deployment_name(application_name)] = DeploymentFacts(
                status="DEPLOY_FAILED",
                message=application["message"],
                is_stopping=is_stopping,
                lack=failure_line(application["message"]),
            )
    return found
