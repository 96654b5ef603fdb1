"""Whether the rendered worker groups can run what the settings place. Pure."""

from headrace.kubernetes.placement.pools import ACCELERATOR, GROUP
from headrace.kubernetes.worker_groups import Demand, WorkerGroup, demands_of, worker_groups
from schemas.settings.file import Settings


def unhosted(settings: Settings) -> list[str]:
    """Return a line on each model or route whose replicas no worker group can run."""
    groups = worker_groups(settings)
    return [
        f"{demand.where}.placement: no worker group can run its replicas, which ask for "
        f"{demand.placement.describe()}: {_why(demand, groups)}"
        for demand in demands_of(settings)
        if not any(can_host(group, demand) for group in groups)
    ]


def can_host(group: WorkerGroup, demand: Demand) -> bool:
    return group.has_room_for(demand.cpus, demand.gpus, demand.placement)


def _why(demand: Demand, groups: list[WorkerGroup]) -> str:
    wanted = demand.placement.wanted_values
    if ACCELERATOR in wanted and not demand.gpus:
        return f"{ACCELERATOR} is a label of pods with GPUs; set num_gpus, or leave it out"
    shared = next((each for each in groups if each.name in wanted.get(GROUP, ())), None)
    if shared is not None:
        labels = ", ".join(f"{key}={value}" for key, value in shared.labels.items())
        return (
            f"others give the group {shared.name} the labels {labels or '(none)'}; name another "
            "group, or the same labels"
        )
    return "its labels exclude each other; change one"
