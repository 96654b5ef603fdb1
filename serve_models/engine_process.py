"""The processes that vLLM starts for an engine: what they are given, and whom they outlive.

Imports nothing of vLLM: the environment must be set before vLLM is.
"""

import ctypes
import os
import signal
from collections.abc import Mapping, MutableMapping

from schemas.model_settings import GeneratorSettings

REPLICA_VARIABLE = "HEADRACE_ENGINE_OWNER_PID"
_PR_SET_PDEATHSIG = 1


def engine_environment(
    settings: GeneratorSettings, inherited: Mapping[str, str], pid: int
) -> dict[str, str]:
    """Return the environment variables that vLLM shall find.

    Args:
        settings: The generator's settings.
        inherited: The variables that are set; an operator's own logging level and limits stay.
        pid: The replica's process, whose end ends the engine's.
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
        # Not bound to cores: vLLM would bind every replica on a node to the same ones.
        environment["VLLM_CPU_OMP_THREADS_BIND"] = inherited.get(
            "VLLM_CPU_OMP_THREADS_BIND", "nobind"
        )
        environment["OMP_NUM_THREADS"] = str(max(1, threads // settings.workers))
    return environment


def set_engine_environment(
    settings: GeneratorSettings, environment: MutableMapping[str, str] = os.environ
) -> None:
    """Set them for this process and those it starts; call it before vLLM is imported."""
    environment.update(engine_environment(settings, environment, os.getpid()))


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
