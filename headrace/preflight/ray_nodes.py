"""The GPUs of the Ray cluster that runs on this machine, asked from another process.

``python -m headrace.preflight.ray_nodes`` prints a JSON list. Where a cluster was killed and its
address stayed behind, Ray waits for it for many minutes, and only a process can be ended then.
"""

import json
import logging
import os
import subprocess
import sys
from typing import Any

TIMEOUT_S = 30.0
_NONE = "null"


class RaySilentError(Exception):
    """A Ray cluster has an address here, and does not answer."""


def gpus_of_cluster(timeout_s: float = TIMEOUT_S) -> list[float] | None:
    """Return the GPUs of each node of the cluster that runs here; ``None`` without one.

    Raises ``RaySilentError``.
    """
    found: list[float] | None = asked(__name__, timeout_s)
    return found


def asked(module: str, timeout_s: float) -> Any:
    """Run a module of ours that joins Ray; return the JSON of its last line.

    Raises ``RaySilentError``.
    """
    try:
        ended = subprocess.run(  # noqa: S603 - our own module
            [sys.executable, "-m", module],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RaySilentError(f"has not answered within {timeout_s:g} s") from None
    lines = ended.stdout.strip().splitlines()
    if ended.returncode or not lines:
        why = " ".join(ended.stderr.strip().splitlines()[-1:])
        raise RaySilentError(f"cannot be asked: {why}")
    return json.loads(lines[-1])


def main() -> None:
    import ray  # noqa: PLC0415 - only this process needs it

    from headrace.status.client import quiet_ray  # noqa: PLC0415 - the same

    if os.environ.get("RAY_ADDRESS") == "local":
        # Ray would start one.
        print(_NONE)  # noqa: T201 - the answer
        return
    quiet_ray()
    try:
        ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError:
        print(_NONE)  # noqa: T201 - the answer
        return
    found: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    nodes = [node for node in found if node["Alive"]]
    print(json.dumps([float(node["Resources"].get("GPU", 0.0)) for node in nodes]))  # noqa: T201
    ray.shutdown()


if __name__ == "__main__":
    main()
