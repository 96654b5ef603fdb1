"""The size and number of the worker pods, from what replicas reserve. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from headrace.kubernetes.placement.pools import GROUP, group_labels, group_name
from schemas.settings.autoscaling import AutoscalingSettings, initial_replicas, most_replicas
from schemas.settings.file import Settings
from schemas.settings.kubernetes import KubernetesSettings, PodSettings
from schemas.settings.models import GeneratorSettings
from schemas.settings.placement import PlacementSettings
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
        name: ``cpu``, ``gpu``, or what a placement makes of it.
        cpus: Whole CPUs of a pod.
        gpus: Its NVIDIA GPUs.
        pods: How many carry the replicas that the service starts with.
        least_pods: How many carry the fewest replicas there may be: these stay.
        most_pods: The most that the autoscaler may start: for a rolling update of those, and for
            all replicas that autoscaling may want.
        labels: Ray's labels of its nodes.
        resources: Ray's custom resources of a pod.
    """

    name: str
    cpus: int
    memory_gib: float
    gpus: int
    pods: int
    least_pods: int
    most_pods: int
    labels: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, int] = field(default_factory=dict)

    def has_room_for(self, cpus: float, gpus: float, placement: PlacementSettings) -> bool:
        """Return whether a pod in which nothing runs can run this, and is where it may run."""
        return (
            gpus <= self.gpus
            and cpus <= self.cpus
            and placement.is_met_by({**self.labels, GROUP: self.name}, self.resources)
        )


@dataclass(frozen=True, slots=True)
class Demand:
    """Equal replicas: first, least and most; ``cpus`` and ``gpus`` are what one reserves.

    ``where`` is their section of the settings.
    """

    replicas: int
    least_replicas: int
    most_replicas: int
    cpus: float
    gpus: float
    placement: PlacementSettings
    where: str


def worker_groups(settings: Settings) -> list[WorkerGroup]:
    """Return the groups that the routes' consumers and models need: CPU pods, then GPU pods.

    A replica never spans pods, except a generator whose workers may run apart; its pods still have
    all its GPUs, because tensor parallelism over a network is slow. What has no placement shares a
    group for CPUs and one for GPUs.
    """
    pools: dict[str, list[Demand]] = {}
    for demand in demands_of(settings):
        name = group_name(demand.placement, has_gpus=demand.gpus > 0)
        pools.setdefault(name, []).append(demand)
    groups = [_placed_group(name, demands, settings.kubernetes) for name, demands in pools.items()]
    return sorted(groups, key=lambda group: (group.gpus > 0, group.name))


def demands_of(settings: Settings) -> list[Demand]:
    """Return what the routes' consumers and the models that they need ask for."""
    demands = [
        Demand(
            initial_replicas(route.consumers, route.autoscaling, is_set=route.sets_consumers),
            _least_replicas(route.consumers, route.autoscaling),
            most_replicas(route.consumers, route.autoscaling),
            route.consumer_num_cpus,
            0.0,
            route.placement,
            f"routes.{name}",
        )
        for name, route in settings.routes.items()
    ]
    called = sorted(settings.called_models.items())
    return demands + [_demand(name, model) for name, model in called]


def _demand(name: str, model: ReplicaSettings) -> Demand:
    gpus = model.num_gpus
    if isinstance(model, GeneratorSettings) and gpus and model.workers > 1:
        gpus = float(model.workers)
    return Demand(
        initial_replicas(model.replicas, model.autoscaling, is_set=model.sets_replicas),
        _least_replicas(model.replicas, model.autoscaling),
        most_replicas(model.replicas, model.autoscaling),
        model.num_cpus,
        gpus,
        model.placement,
        f"models.{name}",
    )


def _placed_group(name: str, demands: list[Demand], sizes: KubernetesSettings) -> WorkerGroup:
    on_gpus = [demand for demand in demands if demand.gpus]
    group = _gpu_group(on_gpus, sizes.gpu_pods) if on_gpus else _cpu_group(demands, sizes.cpu_pods)
    if on_gpus and len(on_gpus) < len(demands):
        group = _with_cpus(group, demands)
    pods, least_pods, most_pods = group.pods, group.least_pods, group.most_pods
    for demand in demands:
        limit = demand.placement.max_replicas_per_node or math.inf
        pods = max(pods, math.ceil(demand.replicas / limit))
        least_pods = max(least_pods, math.ceil(demand.least_replicas / limit))
        most_pods = max(most_pods, ROOM_TO_UPDATE * pods, math.ceil(demand.most_replicas / limit))
    return replace(
        group,
        name=name,
        pods=pods,
        least_pods=least_pods,
        most_pods=most_pods,
        labels=group_labels([each.placement for each in demands], has_gpus=bool(on_gpus)),
        resources=_pod_resources(group, demands),
    )


def _with_cpus(group: WorkerGroup, demands: list[Demand]) -> WorkerGroup:
    """Return a group whose pods also carry replicas that need no GPU."""
    cpus = max(group.cpus, math.ceil(max(demand.cpus for demand in demands)))
    pods = _pods([(demand.replicas, demand.cpus) for demand in demands], cpus)
    least_pods = _pods([(demand.least_replicas, demand.cpus) for demand in demands], cpus)
    most_pods = _pods([(demand.most_replicas, demand.cpus) for demand in demands], cpus)
    pods = max(group.pods, pods)
    return replace(
        group,
        cpus=cpus,
        pods=pods,
        least_pods=min(max(group.least_pods, least_pods), pods),
        most_pods=max(group.most_pods, ROOM_TO_UPDATE * pods, most_pods),
    )


def _pod_resources(group: WorkerGroup, demands: list[Demand]) -> dict[str, int]:
    """Return as much of each custom resource as the replicas in a full pod reserve."""
    found: dict[str, float] = {}
    for demand in demands:
        size, each = (group.gpus, demand.gpus) if demand.gpus else (group.cpus, demand.cpus)
        in_a_pod = max(1, _fitting(size, each, demand.most_replicas))
        for name, amount in demand.placement.resources.items():
            found[name] = max(found.get(name, 0.0), in_a_pod * amount)
    return {name: math.ceil(amount) for name, amount in sorted(found.items())}


def _least_replicas(replicas: int, scaling: AutoscalingSettings | None) -> int:
    return replicas if scaling is None else scaling.min_replicas


def _cpu_group(demands: list[Demand], size: PodSettings) -> WorkerGroup:
    least_cpus = math.ceil(size.cpus or LEAST_CPUS)
    cpus = max(least_cpus, math.ceil(max(demand.cpus for demand in demands)))
    pods = _pods([(demand.replicas, demand.cpus) for demand in demands], cpus)
    least_pods = _pods([(demand.least_replicas, demand.cpus) for demand in demands], cpus)
    scaled_pods = _pods([(demand.most_replicas, demand.cpus) for demand in demands], cpus)
    return WorkerGroup(
        name="cpu",
        cpus=cpus,
        memory_gib=size.memory_gib or cpus * MEMORY_GIB_PER_CPU,
        gpus=0,
        pods=pods,
        # First fit may ask for one more pod where there is less to carry.
        least_pods=min(least_pods, pods),
        most_pods=max(ROOM_TO_UPDATE * pods, scaled_pods),
    )


def _gpu_group(demands: list[Demand], size: PodSettings) -> WorkerGroup:
    gpus = max(1, math.ceil(max(demand.gpus for demand in demands)))
    # All replicas that share a pod's GPUs must find their CPUs in it, too.
    replicas_cpus = max(math.floor(gpus / demand.gpus) * demand.cpus for demand in demands)
    least_cpus = math.ceil(size.cpus or CPUS_PER_GPU * gpus)
    cpus = max(least_cpus, math.ceil(replicas_cpus))
    pods = _pods([(demand.replicas, demand.gpus) for demand in demands], gpus)
    least = [(demand.least_replicas, demand.gpus) for demand in demands]
    # A GPU that nothing uses is worth giving back.
    least_pods = _pods(least, gpus) if any(count for count, _ in least) else 0
    scaled_pods = _pods([(demand.most_replicas, demand.gpus) for demand in demands], gpus)
    return WorkerGroup(
        name="gpu",
        cpus=cpus,
        memory_gib=size.memory_gib or MEMORY_GIB_PER_GPU * gpus,
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
