"""The size and number of the worker pods, from what replicas reserve. Pure."""

import math
from dataclasses import dataclass

from schemas.settings.autoscaling import AutoscalingSettings, initial_replicas, most_replicas
from schemas.settings.file import Settings
from schemas.settings.models import GeneratorSettings
from schemas.settings.replicas import ReplicaSettings

LEAST_CPUS = 4
CPUS_PER_GPU = 8
"""A generator keeps two busy by itself, its engine's loop and its replica's; tokenizers, consumers
and Ray's own processes need the others."""
MEMORY_GIB_PER_CPU = 4
MEMORY_GIB_PER_GPU = 32
ROOM_TO_UPDATE = 2
"""A rolling update runs old and new replicas side by side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerGroup:
    """Worker pods of one shape.

    Attributes:
        name: ``cpu`` or ``gpu``.
        cpus: Whole CPUs of a pod.
        gpus: Its NVIDIA GPUs.
        pods: How many carry the replicas that the service starts with.
        least_pods: How many carry the fewest replicas there may be: these stay.
        most_pods: The most that the autoscaler may start: for a rolling update of those, and for
            all replicas that autoscaling may want.
    """

    name: str
    cpus: int
    memory_gib: int
    gpus: int
    pods: int
    least_pods: int
    most_pods: int


@dataclass(frozen=True, slots=True)
class _Demand:
    """Equal replicas: first, least and most; ``cpus`` and ``gpus`` are what one reserves."""

    replicas: int
    least_replicas: int
    most_replicas: int
    cpus: float
    gpus: float


def worker_groups(settings: Settings) -> list[WorkerGroup]:
    """Return the groups that the routes' consumers and models need: CPU pods, then GPU pods.

    A replica never spans pods, except a generator whose workers may run apart; its pods still have
    all its GPUs, because tensor parallelism over a network is slow.
    """
    demands = [
        _Demand(
            initial_replicas(route.consumers, route.autoscaling, is_set=route.sets_consumers),
            _least_replicas(route.consumers, route.autoscaling),
            most_replicas(route.consumers, route.autoscaling),
            route.consumer_num_cpus,
            0.0,
        )
        for route in settings.routes.values()
    ]
    called = {
        name for route in settings.routes.values() for name in settings.models_behind(route.model)
    }
    demands += [_demand(settings.models[name]) for name in sorted(called)]
    on_cpus = [demand for demand in demands if not demand.gpus]
    on_gpus = [demand for demand in demands if demand.gpus]
    groups = [_cpu_group(on_cpus)]
    if on_gpus:
        groups.append(_gpu_group(on_gpus))
    return groups


def _demand(model: ReplicaSettings) -> _Demand:
    gpus = model.num_gpus
    if isinstance(model, GeneratorSettings) and gpus and model.workers > 1:
        gpus = float(model.workers)
    return _Demand(
        initial_replicas(model.replicas, model.autoscaling, is_set=model.sets_replicas),
        _least_replicas(model.replicas, model.autoscaling),
        most_replicas(model.replicas, model.autoscaling),
        model.num_cpus,
        gpus,
    )


def _least_replicas(replicas: int, scaling: AutoscalingSettings | None) -> int:
    return replicas if scaling is None else scaling.min_replicas


def _cpu_group(demands: list[_Demand]) -> WorkerGroup:
    cpus = max(LEAST_CPUS, math.ceil(max(demand.cpus for demand in demands)))
    pods = _pods([(demand.replicas, demand.cpus) for demand in demands], cpus)
    least_pods = _pods([(demand.least_replicas, demand.cpus) for demand in demands], cpus)
    scaled_pods = _pods([(demand.most_replicas, demand.cpus) for demand in demands], cpus)
    return WorkerGroup(
        name="cpu",
        cpus=cpus,
        memory_gib=cpus * MEMORY_GIB_PER_CPU,
        gpus=0,
        pods=pods,
        # First fit may ask for one more pod where there is less to carry.
        least_pods=min(least_pods, pods),
        most_pods=max(ROOM_TO_UPDATE * pods, scaled_pods),
    )


def _gpu_group(demands: list[_Demand]) -> WorkerGroup:
    gpus = max(1, math.ceil(max(demand.gpus for demand in demands)))
    # All replicas that share a pod's GPUs must find their CPUs in it, too.
    replicas_cpus = max(math.floor(gpus / demand.gpus) * demand.cpus for demand in demands)
    cpus = max(CPUS_PER_GPU * gpus, math.ceil(replicas_cpus))
    pods = _pods([(demand.replicas, demand.gpus) for demand in demands], gpus)
    least = [(demand.least_replicas, demand.gpus) for demand in demands]
    # A GPU that nothing uses is worth giving back.
    least_pods = _pods(least, gpus) if any(count for count, _ in least) else 0
    scaled_pods = _pods([(demand.most_replicas, demand.gpus) for demand in demands], gpus)
    return WorkerGroup(
        name="gpu",
        cpus=cpus,
        memory_gib=MEMORY_GIB_PER_GPU * gpus,
        gpus=gpus,
        pods=pods,
        least_pods=min(least_pods, pods),
        most_pods=max(ROOM_TO_UPDATE * pods, scaled_pods),
    )


def _pods(items: list[tuple[int, float]], size: float) -> int:
    """Return how many bins of ``size`` take the items (count, size of one), the largest first.

    First-fit decreasing, one kind of item after another; the space left in a kind's bins is offered
    to the next kinds.
    """
    rooms: list[float] = []
    for count, each in sorted(items, key=lambda item: -item[1]):
        left = count
        for index, room in enumerate(rooms):
            fits = min(left, _fitting(room, each, left))
            rooms[index] -= fits * each
            left -= fits
        while left > 0:
            fits = min(left, _fitting(size, each, left))
            rooms.append(size - fits * each)
            left -= fits
    return max(1, len(rooms))


def _fitting(room: float, each: float, enough: int) -> int:
    # Sums of fractions such as 0.1 come out slightly too large.
    return enough if each <= 0 else math.floor(room / each + 1e-9)
