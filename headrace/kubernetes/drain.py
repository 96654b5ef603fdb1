"""What a pod of the RayService runs before it ends: `python -m headrace.kubernetes.drain ROLE`.

A worker tells Ray that its node is going. Serve then starts its replicas elsewhere and stops those
here the graceful way: consumers publish, commit and leave the group. When nothing runs here any
more the node's raylet ends by itself. A head takes the service down, since the cluster does not
outlive it; a head whose cluster does (fault tolerance of the GCS) only waits for workers that drain
at the same time, since they need it.

Nothing is lost without it: records in flight would be computed again, and partitions wait for a
session to expire.
"""

import argparse
import logging
import subprocess
import sys
import threading
from collections.abc import Callable

import psutil
import ray
from ray import serve

from handoff.clock import Clock, SystemClock
from headrace.service.stopping import delete_applications
from headrace.status.client import quiet_ray

RAYLET = "raylet"
HEAD_RESOURCE = "node:__internal_head__"
"""What Ray gives the head's node, and no other."""
_ASK_TIMEOUT_S = 30.0
_POLL_INTERVAL_S = 1.0

log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m headrace.kubernetes.drain", description=__doc__
    )
    parser.add_argument("role", choices=["head", "outlived-head", "worker"])
    parser.add_argument(
        "--timeout-s", type=float, required=True, help="The longest wait, in seconds."
    )
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    match given.role:
        case "head":
            is_drained = drain_head(given.timeout_s)
        case "outlived-head":
            is_drained = wait_for_workers(given.timeout_s)
        case _:
            is_drained = drain_worker(given.timeout_s)
    log.info(
        "%s: %s",
        given.role,
        "drained" if is_drained else "not drained",
        extra={"event": "drained" if is_drained else "not_drained", "role": given.role},
    )
    return 0 if is_drained else 1


def drain_head(timeout_s: float) -> bool:
    """Delete the service's applications; returns whether they are gone in time."""
    quiet_ray()
    try:
        ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        log.warning(
            "no Ray runs here: %s",
            error,
            extra={"event": "ray_silent", "error_class": type(error).__name__},
        )
        return False
    try:
        return delete_applications(timeout_s)
    except (ray.exceptions.RayError, serve.exceptions.RayServeException) as error:
        log.warning(
            "Serve does not answer: %s",
            error,
            extra={"event": "ray_silent", "error_class": type(error).__name__},
        )
        return False
    finally:
        ray.shutdown()


def wait_for_workers(
    timeout_s: float,
    *,
    workers: Callable[[], int] | None = None,
    clock: Clock | None = None,
    pause: Callable[[float], object] | None = None,
) -> bool:
    """Wait until this head is the only node; returns whether it is, in time.

    When a cluster is deleted its workers drain, and need the head for it. When the head alone is
    moved, they stay, and it serves them until the end of its time.
    """
    clock = clock or SystemClock()
    pause = pause or threading.Event().wait
    give_up_at_s = clock.monotonic() + timeout_s
    count = workers or count_workers
    while count() > 0:
        if clock.monotonic() >= give_up_at_s:
            return False
        pause(_POLL_INTERVAL_S)
    return True


def count_workers() -> int:
    """Return how many nodes besides this head are alive; 0 if no Ray answers."""
    quiet_ray()
    try:
        if not ray.is_initialized():
            ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
        alive = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    except (ConnectionError, ray.exceptions.RayError) as error:
        log.warning(
            "no Ray answers here: %s",
            error,
            extra={"event": "ray_silent", "error_class": type(error).__name__},
        )
        return 0
    return len([node for node in alive if HEAD_RESOURCE not in node["Resources"]])


def drain_worker(
    timeout_s: float,
    *,
    raylets: Callable[[], list[psutil.Process]] | None = None,
    ask: Callable[[list[str]], int] | None = None,
) -> bool:
    """Have this node's replicas moved away; returns whether its raylet has ended in time.

    ``raylets`` and ``ask`` replace this machine's processes and Ray's command in tests.
    """
    running = (raylets or find_raylets)()
    if not running:
        return True
    if (ask or _run)(drain_command(timeout_s)) != 0:
        log.warning(
            "Ray did not take the request to drain: see its output above",
            extra={"event": "not_drained", "role": "worker"},
        )
        return False
    _, alive = psutil.wait_procs(running, timeout=timeout_s)
    return not alive


def drain_command(timeout_s: float) -> list[str]:
    """Return Ray's command to drain its node, as a preemption, which Ray never refuses."""
    return [
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "drain-node",
        "--reason",
        "DRAIN_NODE_REASON_PREEMPTION",
        "--reason-message",
        "the pod is being stopped",
        "--deadline-remaining-seconds",
        str(round(timeout_s)),
    ]


def find_raylets() -> list[psutil.Process]:
    return [one for one in psutil.process_iter(["name"]) if one.info["name"] == RAYLET]


def _run(command: list[str]) -> int:
    try:
        return subprocess.run(command, check=False, timeout=_ASK_TIMEOUT_S).returncode  # noqa: S603 - ours
    except subprocess.TimeoutExpired:
        return 1


if __name__ == "__main__":
    sys.exit(main())
