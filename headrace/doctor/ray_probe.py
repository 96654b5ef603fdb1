"""Asks the Ray cluster that runs here, and the service on it, in a process of its own.

A Ray whose head is gone may never answer, and a joined one cannot be left for another.
"""

import logging
import os
from dataclasses import dataclass, field
from typing import Any

import msgspec

from headrace.overview.snapshot import Overview
from headrace.preflight.ray_nodes import RaySilentError, asked

TIMEOUT_S = 45.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RayFacts:
    """What Ray says.

    Attributes:
        runs: Whether a cluster runs here; ``None``: one has an address here and is silent.
        problem: Why it cannot be joined, or does not answer.
        version: Of the cluster; it is that of this machine, or joining fails.
        nodes: Those that live.
        dead_nodes: Those that have ended.
        cpus: Of all nodes.
        free_cpus: Not reserved.
        gpus: Of all nodes.
        service: What the service does; ``None`` without one.
        no_service: Why there is none, or why it does not answer.
    """

    runs: bool | None = False
    problem: str = ""
    version: str = ""
    nodes: int = 0
    dead_nodes: int = 0
    cpus: float = 0.0
    free_cpus: float = 0.0
    gpus: float = 0.0
    service: dict[str, Any] | None = field(default=None)
    no_service: str = ""


def probe_ray(timeout_s: float = TIMEOUT_S) -> RayFacts:
    try:
        return msgspec.convert(asked(__name__, timeout_s), RayFacts)
    except RaySilentError as error:
        return RayFacts(runs=None, problem=str(error))


def service_of(facts: RayFacts) -> Overview | None:
    return None if facts.service is None else Overview.from_dict(facts.service)


def main() -> None:
    print(msgspec.json.encode(_ask()).decode())  # noqa: T201 - the answer


def _ask() -> RayFacts:
    import ray  # noqa: PLC0415 - only this process needs it
    from ray import serve  # noqa: PLC0415 - the same

    from headrace.errors import ServiceError  # noqa: PLC0415 - the same
    from headrace.overview.client import read_overview  # noqa: PLC0415 - the same
    from headrace.service.running import is_serve_running  # noqa: PLC0415 - the same
    from headrace.status.client import quiet_ray  # noqa: PLC0415 - the same

    if os.environ.get("RAY_ADDRESS") == "local":
        # Ray would start one.
        return RayFacts()
    quiet_ray()
    try:
        ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError:
        return RayFacts()
    except RuntimeError as error:
        return RayFacts(runs=None, problem=" ".join(str(error).split()))
    service, why_not = None, ""
    try:
        if is_serve_running():
            service = read_overview().to_dict()
        else:
            why_not = "no service runs on it; `headrace up` starts one"
    except (ServiceError, serve.exceptions.RayServeException) as error:
        why_not = str(error)
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    found = RayFacts(
        runs=True,
        version=ray.__version__,
        nodes=sum(bool(node["Alive"]) for node in nodes),
        dead_nodes=sum(not node["Alive"] for node in nodes),
        cpus=total.get("CPU", 0.0),
        free_cpus=free.get("CPU", 0.0),
        gpus=total.get("GPU", 0.0),
        service=service,
        no_service=why_not,
    )
    ray.shutdown()
    return found


if __name__ == "__main__":
    main()
