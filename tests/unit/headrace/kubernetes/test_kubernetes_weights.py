"""How weights reach the pods, by the settings."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.kubernetes.manifests import render_files
from headrace.kubernetes.source import parse_source
from headrace.kubernetes.weights import (
    IMAGES_DIR,
    POD_CACHE,
    hosted_models,
    unpinned_sources,
    unreachable_sources,
)
from headrace.kubernetes.worker_groups import worker_groups
from schemas.settings.file import Settings
from serve_models.weights import references

PRODUCTION = (
    Path(__file__).parents[4] / "k8s" / "overlays" / "production" / "headrace.yaml"
).read_text()
COMMIT = "0" * 40
DIGEST = "sha256:" + "0" * 64


def settings_of(weights: dict[str, Any] | None = None, chat: str | None = None) -> str:
    data = yaml.safe_load(PRODUCTION)
    if weights is not None:
        data["weights"] = weights
    if chat is not None:
        data["models"]["chat"]["source"] = chat
    text: str = yaml.safe_dump(data)
    return text


def checked(text: str) -> Settings:
    return parse_source(text.encode(), "headrace.yaml").settings


def rendered(text: str) -> list[dict[str, Any]]:
    files = render_files(parse_source(text.encode(), "headrace.yaml"))
    return [each for content in files.values() for each in yaml.safe_load_all(content)]


def cluster_of(text: str) -> dict[str, Any]:
    [service] = [each for each in rendered(text) if each["kind"] == "RayService"]
    cluster: dict[str, Any] = service["spec"]["rayClusterConfig"]
    return cluster


def pods_of(text: str) -> dict[str, dict[str, Any]]:
    """Return the worker groups' pod specs by name."""
    return {
        group["groupName"]: group["template"]["spec"]
        for group in cluster_of(text)["workerGroupSpecs"]
    }


def cache_of(pod: dict[str, Any], container: str = "containers") -> tuple[Any, Any]:
    """Return the volume at the cache, and its mount."""
    [volume] = [each for each in pod["volumes"] if each["name"] == "weights"]
    [mount] = [each for each in pod[container][0]["volumeMounts"] if each["name"] == "weights"]
    return volume, mount


def variables(container: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


def test_each_group_pulls_what_it_may_host_before_ray_starts() -> None:
    for name, pod in pods_of(PRODUCTION).items():
        [init], [ray] = pod["initContainers"], pod["containers"]
        assert init["image"] == ray["image"]
        assert init["command"] == [
            *("headrace", "models", "pull", "--missing"),
            *("--worker-group", name),
        ]
        assert init["securityContext"] == ray["securityContext"]
        assert {"limits", "requests"} <= set(init["resources"])
        assert cache_of(pod) == cache_of(pod, "initContainers")
        assert variables(init)["HEADRACE_CACHE"] == variables(ray)["HEADRACE_CACHE"] == POD_CACHE
        assert variables(init)["HEADRACE_CONFIG"]


def test_the_head_runs_no_model_and_has_no_weights() -> None:
    head = cluster_of(PRODUCTION)["headGroupSpec"]["template"]["spec"]
    assert "initContainers" not in head
    assert "weights" not in {each["name"] for each in head["volumes"]}


def test_gpu_pods_may_host_models_without_a_gpu_and_not_the_other_way() -> None:
    settings = checked(PRODUCTION)
    hosted = {group.name: hosted_models(settings, group) for group in worker_groups(settings)}

    assert hosted == {"cpu": ["minilm"], "gpu": ["minilm", "chat"]}


def test_every_model_is_hosted_by_a_group_even_if_its_workers_are_spread() -> None:
    data = yaml.safe_load(PRODUCTION)
    data["models"]["chat"]["engine_args"]["tensor_parallel_size"] = 4
    settings = checked(yaml.safe_dump(data))

    hosted = {name for group in worker_groups(settings) for name in hosted_models(settings, group)}
    assert hosted == set(settings.models)


@pytest.mark.parametrize(
    ("volume", "source", "command"),
    [
        ({"kind": "empty_dir", "size_gib": 50}, {"emptyDir": {"sizeLimit": "50Gi"}}, "pull"),
        (
            {"kind": "claim", "name": "weights-claim"},
            {"persistentVolumeClaim": {"claimName": "weights-claim", "readOnly": False}},
            "pull",
        ),
        (
            {"kind": "claim", "access_mode": "ReadOnlyMany"},
            {"persistentVolumeClaim": {"claimName": "headrace-weights", "readOnly": True}},
            "check",
        ),
        (
            {"kind": "host_path", "path": "/mnt/nvme"},
            {"hostPath": {"path": "/mnt/nvme", "type": "Directory"}},
            "pull",
        ),
        (
            {"kind": "host_path", "path": "/mnt/nvme", "read_only": True},
            {"hostPath": {"path": "/mnt/nvme", "type": "Directory"}},
            "check",
        ),
        (
            {"kind": "image", "reference": "registry.example.com/weights:1"},
            {
                "image": {
                    "reference": "registry.example.com/weights:1",
                    "pullPolicy": "IfNotPresent",
                }
            },
            "check",
        ),
    ],
)
def test_the_settings_choose_what_the_cache_is(
    volume: dict[str, Any], source: dict[str, Any], command: str
) -> None:
    text = settings_of({"cache": "/models", "volume": volume})

    for pod in pods_of(text).values():
        found, mount = cache_of(pod)
        assert found == {"name": "weights", **source}
        assert mount["mountPath"] == "/models"
        assert mount.get("readOnly", False) is (command == "check")
        assert pod["initContainers"][0]["command"][2] == command
        assert variables(pod["containers"][0])["HEADRACE_CACHE"] == "/models"


def test_a_claim_with_a_size_is_made() -> None:
    def claims(volume: dict[str, Any]) -> list[dict[str, Any]]:
        found = rendered(settings_of({"volume": volume}))
        return [each for each in found if each["kind"] == "PersistentVolumeClaim"]

    assert claims({"kind": "claim"}) == []
    [claim] = claims({"kind": "claim", "size_gib": 500, "storage_class": "efs"})
    assert claim["metadata"]["name"] == "headrace-weights"
    assert claim["spec"] == {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "500Gi"}},
        "storageClassName": "efs",
    }


def test_credentials_come_by_reference_and_only_where_they_are_needed() -> None:
    def inits(chat: str) -> dict[str, dict[str, Any]]:
        pods = pods_of(settings_of(chat=chat))
        for pod in pods.values():
            # Ray's processes fetch nothing.
            assert not {"HF_TOKEN", "DOCKER_CONFIG"} & set(variables(pod["containers"][0]))
            assert "envFrom" not in pod["containers"][0]
        return {name: pod["initContainers"][0] for name, pod in pods.items()}

    hub = inits("hub:org/chat")
    assert variables(hub["gpu"])["HF_TOKEN"] == {
        "secretKeyRef": {"name": "headrace-hub", "key": "token", "optional": True}
    }
    assert "HF_TOKEN" not in variables(hub["cpu"])
    for bucket in (inits("s3://bucket/chat"), inits("gs://bucket/chat")):
        secret = {"secretRef": {"name": "headrace-weights", "optional": True}}
        assert bucket["gpu"]["envFrom"] == [secret]
        assert "envFrom" not in bucket["cpu"]
    image = inits("oci:registry.example.com/chat:1")
    config = variables(image["gpu"])["DOCKER_CONFIG"]
    assert config in {each["mountPath"] for each in image["gpu"]["volumeMounts"]}


def test_images_are_mounted_where_the_settings_say_so() -> None:
    text = settings_of({"oci_as_volumes": True}, chat=f"oci:registry.example.com/chat:1@{DIGEST}")
    pods = pods_of(text)
    source = references.parse_source(f"oci:registry.example.com/chat@{DIGEST}")

    [volume] = [each for each in pods["gpu"]["volumes"] if "image" in each]
    assert volume["image"]["reference"] == f"registry.example.com/chat@{DIGEST}"
    for container in (*pods["gpu"]["initContainers"], *pods["gpu"]["containers"]):
        [mount] = [each for each in container["volumeMounts"] if each["name"] == volume["name"]]
        assert mount["mountPath"] == f"{IMAGES_DIR}/{source.folder_name}"
        assert mount["readOnly"] is True
        assert variables(container)["HEADRACE_WEIGHT_IMAGES"] == IMAGES_DIR
    assert not [each for each in pods["cpu"]["volumes"] if "image" in each]


def test_a_service_account_may_read_the_bucket() -> None:
    text = settings_of({"service_account": "reads-weights"}, chat="s3://bucket/chat")
    assert {pod["serviceAccountName"] for pod in pods_of(text).values()} == {"reads-weights"}


def test_every_mount_has_its_volume_and_no_name_is_used_twice() -> None:
    text = settings_of({"oci_as_volumes": False}, chat="oci:registry.example.com/chat:1")
    for pod in pods_of(text).values():
        volumes = [each["name"] for each in pod["volumes"]]
        assert len(set(volumes)) == len(volumes)
        for container in (*pod["initContainers"], *pod["containers"]):
            assert {each["name"] for each in container["volumeMounts"]} <= set(volumes)


def test_a_change_of_the_cache_restarts_the_models_that_read_it() -> None:
    [application] = [
        each
        for each in yaml.safe_load(cluster_config(settings_of({"cache": "/models"})))[
            "applications"
        ]
        if each["name"] == "headrace-model-chat"
    ]
    assert application["args"]["weights_cache"] == "/models"


def cluster_config(text: str) -> str:
    [service] = [each for each in rendered(text) if each["kind"] == "RayService"]
    config: str = service["spec"]["serveConfigV2"]
    return config


@pytest.mark.parametrize(
    ("volume", "path", "is_there"),
    [
        ({"kind": "claim"}, "path:/models/chat", True),
        ({"kind": "host_path", "path": "/mnt/nvme"}, "path:/models/chat", True),
        ({"kind": "claim"}, "path:/srv/chat", False),
        ({"kind": "empty_dir"}, "path:/models/chat", False),
    ],
)
def test_a_directory_that_no_volume_has_is_warned_of(
    volume: dict[str, Any], path: str, is_there: bool
) -> None:
    settings = checked(settings_of({"cache": "/models", "volume": volume}, chat=path))

    lines = unreachable_sources(settings)
    assert (lines == []) is is_there
    assert all("models.chat.source" in line and "weights.volume" in line for line in lines)


def test_sources_that_may_mean_other_weights_tomorrow_are_warned_of() -> None:
    for source, pinned in [
        ("hub:org/chat@main", False),
        (f"hub:org/chat@{COMMIT}", True),
        ("oci:registry.example.com/chat:1", False),
        (f"oci:registry.example.com/chat@{DIGEST}", True),
        ("s3://bucket/chat", True),
    ]:
        lines = unpinned_sources(checked(settings_of(chat=source)))
        assert (lines == []) is pinned, source
