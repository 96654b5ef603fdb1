"""On which nodes a group's pods run, and what of a node they ask for besides CPUs and memory."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from headrace.kubernetes.placement.pools import NODE_SELECTOR_KEYS
from headrace.kubernetes.pods.quantities import gib_quantity
from schemas.settings.kubernetes import PodSettings, TolerationSettings

SHM_VOLUME = "shm"
SHM_PATH = "/dev/shm"  # noqa: S108 - a volume of the pod's own
GPU_TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
"""Of the taint that clouds put on GPU nodes."""


_OBJECT_STORE_SHARE = 0.6
"""Of /dev/shm; NCCL has the rest."""


def ray_start_params(settings: PodSettings) -> dict[str, str]:
    """Return the parameters of a worker's `ray start`.

    Ray would take three tenths of the pod's memory for its object store, and put it on disk where
    /dev/shm is smaller.
    """
    if settings.shm_gib is None:
        return {}
    return {"object-store-memory": str(round(settings.shm_gib * 1024**3 * _OBJECT_STORE_SHARE))}


def placed(
    template: dict[str, Any],
    settings: PodSettings,
    *,
    has_gpus: bool,
    labels: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return a pod template with what the settings say of nodes, shared memory and local disk.

    Its only container is Ray's. ``labels`` are what Ray takes for the labels of the group's nodes:
    those that Kubernetes knows must be true, whatever else the settings select.
    """
    pod = dict(template["spec"])
    [container] = pod["containers"]
    promised = {
        NODE_SELECTOR_KEYS[key]: value for key, value in labels.items() if key in NODE_SELECTOR_KEYS
    }
    if selector := {**settings.node_selector, **promised}:
        pod["nodeSelector"] = selector
    tolerations = [GPU_TOLERATION] if has_gpus else []
    tolerations += [_toleration(each) for each in settings.tolerations]
    if tolerations:
        pod["tolerations"] = tolerations
    if settings.runtime_class is not None:
        pod["runtimeClassName"] = settings.runtime_class
    if settings.priority_class is not None:
        pod["priorityClassName"] = settings.priority_class
    if settings.shm_gib is not None:
        shm = {"medium": "Memory", "sizeLimit": gib_quantity(settings.shm_gib)}
        pod["volumes"] = [*pod["volumes"], {"name": SHM_VOLUME, "emptyDir": shm}]
        mount = {"name": SHM_VOLUME, "mountPath": SHM_PATH}
        container = {**container, "volumeMounts": [*container["volumeMounts"], mount]}
    if settings.ephemeral_storage_gib is not None:
        disk = {"ephemeral-storage": gib_quantity(settings.ephemeral_storage_gib)}
        size = {part: {**have, **disk} for part, have in container["resources"].items()}
        container = {**container, "resources": size}
    pod["containers"] = [container]
    return {**template, "spec": pod}


def _toleration(settings: TolerationSettings) -> dict[str, str]:
    values = {
        "key": settings.key,
        "operator": settings.operator,
        "value": settings.value,
        "effect": settings.effect,
    }
    return {name: value for name, value in values.items() if value is not None}
