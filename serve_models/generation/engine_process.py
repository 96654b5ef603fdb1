"""The processes that vLLM starts for an engine: what they are given, and whom they outlive.

Imports nothing of vLLM: the environment must be set before vLLM is.
"""

import ctypes
import os
import signal
from collections.abc import Collection, Mapping, MutableMapping

from schemas.settings.models import GeneratorSettings

REPLICA_VARIABLE = "HEADRACE_ENGINE_OWNER_PID"
_PR_SET_PDEATHSIG = 1


def engine_environment(
    settings: GeneratorSettings, inherited: Mapping[str, str], *, pid: int, cpus: Collection[int]
) -> dict[str, str]:
    """Return the environment variables that vLLM shall find.

    Args:
        settings: The generator's settings.
        inherited: The variables that are set; an operator's own logging level and limits stay.
        pid: The replica's process, whose end ends the engine's.
        cpus: Numbers of the CPUs that the replica's process may run on.
    """
    environment = {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        # Weights are here by now, and a replica must not depend on a network to start.
        "HF_HUB_OFFLINE": "1",
        "VLLM_LOGGING_LEVEL": inherited.get("VLLM_LOGGING_LEVEL", "WARNING"),
        REPLICA_VARIABLE: str(pid),
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
    """Set them for this process and those it starts; call it before vLLM is imported."""
    # macOS has no such call, nor a way to bind a thread.
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    environment.update(engine_environment(settings, environment, pid=os.getpid(), cpus=cpus))


def _thread_binding(threads: int, workers: int, cpus: Collection[int]) -> str:
    """Return which CPUs the threads of each worker are bound to, as vLLM reads it.

    Each operation waits for its slowest thread. Where other processes have some work too (a
    broker, a consumer), the kernel puts threads that may move on one CPU now and then: bound, a
    generator on all of 2 CPUs was 1.15 times as fast. With fewer threads than CPUs they may move,
    for which CPUs other replicas on the node use is not known here.
    """
    if threads != len(cpus) or threads % workers:
        return "nobind"
    numbers, each = sorted(cpus), threads // workers
    return "|".join(
        ",".join(map(str, numbers[start : start + each])) for start in range(0, threads, each)
    )


def end_with_replica() -> None:
    """Have the kernel kill this process as soon as the one that started it ends.

    vLLM calls this in each of its processes (a plug-in, see ``pyproject.toml``). Without it an
    engine whose replica was killed with -9 lives on and holds its memory, because it waits for a
    message that never comes. Linux only; elsewhere, and in processes that no replica started, it
    does nothing.
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
    # It may have ended between the two calls, and then no signal comes.
    if os.getppid() != parent or parent == 1:
        os._exit(1)
