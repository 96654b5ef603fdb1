"""The GPUs that Ray gave a replica, and only those."""

import os
import tempfile
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path

import ray
from filelock import AsyncFileLock

_VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
_LOOK_AGAIN_AFTER_S = 0.2


def given_gpus() -> list[str]:
    """Return the ids of the GPUs that Ray gave this replica; a shared one too."""
    ids: dict[str, list[str]] = ray.get_runtime_context().get_accelerator_ids()
    return ids.get("GPU", [])


def hide_gpus(environment: MutableMapping[str, str] = os.environ) -> None:
    """Hide the node's GPUs from a replica without one; call it before CUDA is first used.

    Ray, from 2.60 on, does so only if asked for the whole node, and there it would hide them from
    a replica too whose GPUs are those of its workers.
    """
    for name in _VARIABLES:
        environment[name] = ""


@asynccontextmanager
async def turn_to_load(num_gpus: float, gpus: list[str]) -> AsyncIterator[None]:
    """Load one after the other where replicas share a GPU.

    vLLM sizes its KV cache by the memory that is taken while it starts, and counts as its own what
    another replica takes meanwhile, or fails. Ray gives the parts of a GPU to replicas of one node,
    or pod, so a file there is enough; the kernel frees it with a process that dies.
    """
    if not 0 < num_gpus < 1 or not gpus:
        yield
        return
    path = Path(tempfile.gettempdir()) / f"headrace-{os.getuid()}-gpu-{'-'.join(gpus)}.lock"
    # Not in a thread, which could not be cancelled.
    async with AsyncFileLock(path, poll_interval=_LOOK_AGAIN_AFTER_S, run_in_executor=False):
        yield
