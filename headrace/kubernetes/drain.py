"""What a pod of the RayService runs before it ends: `python -m headrace.kubernetes.drain ROLE`.

A worker tells Ray that its node is going. Serve then starts its replicas elsewhere and stops those
here the graceful way: consumers publish, commit and leave the group. When nothing runs here any
more the node's raylet ends by itself. A head takes the service down, since the cluster does not
outlive it.

Nothing is lost without it: records in flight would be computed again, and partitions wait for a
session to expire.
"""

import argparse
import logging
import subprocess
import sys
from collections.abc import Callable

import psutil
import ray
from ray import serve

from headrace.service.stopping import delete_applications
from headrace.status.client import quiet_ray

RAYLET = "raylet"
_ASK_TIMEOUT_S = 30.0

log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m headrace.kubernetes.drain", description=__doc__
    )
    parser.add_argument("role", choices=["head", "worker"])
    parser.add_argument(
        "--timeout-s", type=float, required=True, help="The longest wait, in seconds."
    )
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    drain = drain_head if given.role == "head" else drain_worker
    is_drained = drain(given.timeout_s)
    log.info("%s: %s", given.role, "drained" if is_drained else "not drained")
    return 0 if is_drained else 1


def drain_head(timeout_s: float) -> bool:
    """Delete the service's applications; returns whether they are gone in time."""
    quiet_ray()
    try:
        ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        log.warning("no Ray runs here: %s", error)
        return False
    try:
        return delete_applications(timeout_s)
    except (ray.exceptions.RayError, serve.exceptions.RayServeException) as error:
        log.warning("Serve does not answer: %s", error)
        return False
    finally:
        ray.shutdown()


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
        log.warning("Ray did not take the request to drain: see its output above")
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
