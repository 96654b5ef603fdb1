"""How many front processes a replica has. Pure."""

from schemas.settings.models import EmbedderSettings

_MOST = 8
_OTHER_CPUS = 3
"""The replica's event loop and the thread that feeds the device, and a consumer beside it."""


def choose_front_processes(
    settings: EmbedderSettings, device: str, *, cpus: int, devices: int
) -> int:
    """Return the settings' number; where it is unset, what suits the machine.

    On a CPU the model takes all the threads there are: a process more would only cost copies. For a
    GPU it is what is left of its part of the CPUs.

    Args:
        settings: The model's.
        device: torch's name of its device.
        cpus: CPUs that this process may use.
        devices: GPUs of this machine.
    """
    if settings.front_processes is not None:
        return settings.front_processes
    if not device.startswith("cuda"):
        return 0
    # Replicas that share a GPU share its part of the CPUs.
    share = min(1.0, settings.num_gpus or 1.0)
    return max(0, min(_MOST, int(cpus * share) // max(1, devices) - _OTHER_CPUS))
