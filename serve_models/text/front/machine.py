"""What this machine, or this container, has."""

import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_DEVICES = Path("/dev")


def usable_cpus(quota: Path = _QUOTA) -> int:
    """Return how many CPUs this process may use: by affinity, and by its container's limit."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        most_us, period_us = quota.read_text(encoding="ascii").split()
        limit = int(most_us) // int(period_us)
    except (OSError, ValueError):
        # "max", or no control groups of version 2.
        return cpus
    return max(1, min(cpus, limit))


def count_gpus(devices: Path = _DEVICES) -> int:
    """Return how many NVIDIA GPUs are here, those of other replicas among them."""
    return len([each for each in devices.glob("nvidia*") if each.name[6:].isdigit()])
