"""Reads which applications of Headrace run, from Serve's own record.

Serve keeps the settings of each application beside its replicas, and changes both in one call. So
what is read here is what runs, whoever deployed it, and it is gone when the application is. For an
application of `headrace up` all of it is in the deployment's ``user_config``; for one of a
RayService, what the replicas are built from is in the config's ``args``.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.autoscaler.v2.sdk import get_cluster_status
from ray.serve.context import _get_global_client

from headrace.errors import ServiceError
from headrace.service.applications import STATUS_APPLICATION, STATUS_DEPLOYMENT, kind_of
from headrace.service.changes import RunningApplication
from headrace.service.placing import Node
from headrace.service.waiting.lines import Room

CONTROLLER_NAME = "SERVE_CONTROLLER_ACTOR"
CONTROLLER_NAMESPACE = "serve"
_WELL = ("RUNNING", "DEPLOYING", "DELETING")
_FAILED = "failed to start"
ASK_TIMEOUT_S = 30.0
_TRIPS = 20
_AFTER_TRIP_S = 0.1


def is_serve_running() -> bool:
    # serve.status() answers where Serve has never run, with an empty list.
    try:
        ray.get_actor(CONTROLLER_NAME, namespace=CONTROLLER_NAMESPACE)
    except ValueError:
        return False
    return True


def serve_details() -> Mapping[str, Any]:
    """Return Headrace's applications by name, in the form of Serve's REST interface."""
    if not is_serve_running():
        return {}
    controller: Any = ray.get_actor(CONTROLLER_NAME, namespace=CONTROLLER_NAMESPACE)
    answer = _steady(
        lambda: ray.get(controller.get_serve_instance_details.remote(), timeout=ASK_TIMEOUT_S)
    )
    applications: Mapping[str, Any] = answer["applications"]
    return {name: each for name, each in applications.items() if kind_of(name) is not None}


def _steady(ask: Callable[[], Any]) -> Any:
    """Ask again while the controller trips over a deployment that it makes or deletes just now."""
    for _ in range(_TRIPS):
        try:
            return ask()
        except ray.exceptions.RayTaskError as error:
            if not isinstance(error, (AttributeError, KeyError)):
                raise
            threading.Event().wait(_AFTER_TRIP_S)
    return ask()


def cluster_room() -> Room:
    total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    return Room(total, free, _pending_demands())


def _pending_demands() -> list[dict[str, float]] | None:
    try:
        demands = get_cluster_status(ray.get_runtime_context().gcs_address).resource_demands
    except Exception:  # noqa: BLE001 - Ray gives no promise on it, and it is only for a line of text
        return None
    found: list[dict[str, float]] = []
    for demand in (*demands.ray_task_actor_demand, *demands.placement_group_demand):
        needs: dict[str, float] = {}
        for bundles in demand.bundles_by_count:
            # An actor's count is how many wait; a group needs all of its bundles.
            count = bundles.count if demand in demands.placement_group_demand else 1
            for name, number in bundles.bundle.items():
                needs[name] = needs.get(name, 0.0) + number * count
        found.append(needs)
    return found


def cluster_nodes() -> list[Node]:
    """Return the nodes of the connected cluster that live."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [
        Node(labels=node["Labels"], resources=node["Resources"]) for node in nodes if node["Alive"]
    ]


def close_handles() -> None:
    """Close this process's handles: one that polled on would start a Ray of its own."""
    if (client := _get_global_client()) is not None:
        client.shutdown_cached_handles()  # type: ignore[no-untyped-call]


def running_applications() -> dict[str, RunningApplication]:
    """Return what runs, by application; one that is being deleted is left out.

    Raises:
        ServiceError: A release that ran everything in one application deployed it.
    """
    found = {
        name: details
        for name, details in serve_details().items()
        if details["status"] != "DELETING"
    }
    if STATUS_APPLICATION in found and _holds_everything(found[STATUS_APPLICATION]):
        raise ServiceError(
            f"an earlier release of Headrace runs here, with everything in the application "
            f"{STATUS_APPLICATION}. Stop it first: by Ctrl-C in its `headrace up`, or by `serve "
            "shutdown`; what is in flight is finished. To a RayService, apply what `headrace "
            "render` writes"
        )
    return {name: running_of(details) for name, details in found.items()}


def _holds_everything(details: Mapping[str, Any]) -> bool:
    declared = details.get("deployed_app_config")
    if declared and "deployments" not in declared:
        return True
    return not set(details["deployments"]) <= {STATUS_DEPLOYMENT}


def running_of(details: Mapping[str, Any]) -> RunningApplication:
    """Return what Serve's details of an application of this release say."""
    declared = details.get("deployed_app_config") or {}
    deployments = list(details["deployments"].values())
    config: Mapping[str, Any] = deployments[0]["deployment_config"] if deployments else {}
    kept: Mapping[str, Any] = config.get("user_config") or {}
    built, options = kept.get("built"), kept.get("options")
    if declared:
        [stated] = declared["deployments"]
        built = {key: value for key, value in declared["args"].items() if key != "application"}
        kept = stated["user_config"]
        options = {
            key: value for key, value in stated.items() if key not in {"name", "user_config"}
        }
    return RunningApplication(
        built=built or {},
        live=kept.get("live", {}),
        options=options or {},
        error=None if _recovers(details) else error_of(details),
        version=kept.get("version", ""),
        is_declared=bool(declared),
    )


def _recovers(details: Mapping[str, Any]) -> bool:
    """Tell whether replicas ran and became unhealthy: Serve replaces these by itself."""
    return details["status"] == "UNHEALTHY" and _FAILED not in (error_of(details) or "")


def error_of(details: Mapping[str, Any]) -> str | None:
    """Return why an application does not run; ``None`` if it does or may yet."""
    status = details["status"]
    messages = [str(each["message"]) for each in details["deployments"].values()]
    messages = [each for each in messages if each.strip()]
    is_failing = status == "DEPLOYING" and any(_FAILED in each for each in messages)
    if status in _WELL and not is_failing:
        return None
    return next(iter(messages), str(details["message"]))
