"""The environment of vLLM's processes, and what ends them.

Imports no vLLM, which reads its environment when it is imported.
"""

import ctypes
import logging
import os
import signal
from collections.abc import Collection, Mapping, MutableMapping

from schemas.settings.models import GeneratorSettings
from serve_models.generation.kernels.toolchain import find_toolchain, kernel_environment, told
from serve_models.generation.kernels.wheels_toolkit import completed

log = logging.getLogger(__name__)

REPLICA_VARIABLE = "HEADRACE_ENGINE_OWNER_PID"
_PR_SET_PDEATHSIG = 1


def engine_environment(
    settings: GeneratorSettings, inherited: Mapping[str, str], *, pid: int, cpus: Collection[int]
) -> dict[str, str]:
    """Return the environment variables for vLLM, whose engine ends with the process ``pid``.

    An operator's logging level and thread binding in ``inherited`` stay.
    """
    environment = {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        # The weights are local, and a replica must start without a network.
        "HF_HUB_OFFLINE": "1",
        "VLLM_LOGGING_LEVEL": inherited.get("VLLM_LOGGING_LEVEL", "WARNING"),
        REPLICA_VARIABLE: str(pid),
        "VLLM_MAX_IMAGE_PIXELS": str(settings.max_image_pixels),
        # A server of an allowed domain could send the replica anywhere.
        "VLLM_MEDIA_URL_ALLOW_REDIRECTS": inherited.get("VLLM_MEDIA_URL_ALLOW_REDIRECTS", "0"),
    }
    if settings.num_gpus == 0:
        threads = settings.threads or max(1, int(settings.num_cpus))
        environment["VLLM_CPU_OMP_THREADS_BIND"] = inherited.get(
            "VLLM_CPU_OMP_THREADS_BIND", _thread_binding(threads, settings.workers, cpus)
        )
        environment["OMP_NUM_THREADS"] = str(max(1, threads // settings.workers))
    return environment


def set_engine_environment(
    settings: GeneratorSettings, environment: MutableMapping[str, str] = os.environ
) -> None:
    """Set the variables for this process and its children; call this before importing vLLM."""
    # macOS has no such call, and cannot bind a thread.
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    environment.update(engine_environment(settings, environment, pid=os.getpid(), cpus=cpus))
    if settings.num_gpus:
        found = completed(find_toolchain(environment))
        environment.update(kernel_environment(found, environment))
        if (line := told(found)) is not None:
            log.warning("%s", line, extra={"event": "kernels_toolkit"})


def _thread_binding(threads: int, workers: int, cpus: Collection[int]) -> str:
    """Return the CPUs to bind the threads of each worker to, in vLLM's form.

    Each operation waits for its slowest thread, and beside other busy processes (a broker, a
    consumer) the kernel sometimes puts two threads on one CPU: bound threads made a generator on
    all of 2 CPUs 1.15 times as fast. Fewer threads than CPUs are not bound, because the CPUs of the
    node's other replicas are not known here.
    """
    if threads != len(cpus) or threads % workers:
        return "nobind"
    numbers, each = sorted(cpus), threads // workers
    return "|".join(
        ",".join(map(str, numbers[start : start + each])) for start in range(0, threads, each)
    )


def end_with_replica() -> None:
    """Make the kernel kill this process when its parent ends.

    vLLM calls this in each of its processes (a plug-in, see ``pyproject.toml``). Otherwise, if a
    replica were killed with -9, its engine would wait for a message forever and keep its memory.
    Works on Linux only, and only in processes that a replica started.
    """
    owner = os.environ.get(REPLICA_VARIABLE)
    if owner is None or not owner.isdecimal() or int(owner) == os.getpid():
        return
    parent = os.getppid()
    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (AttributeError, OSError, TypeError):
        return
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # If the parent ended between the two calls, no signal comes.
    if os.getppid() != parent or parent == 1:
        os._exit(1)
