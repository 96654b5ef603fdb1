"""How much the pods ask for, on which nodes they run, and what of Kafka is theirs."""

from typing import Any

import pytest
from pydantic import ValidationError

from headrace.dead_letters.handled_topic import handled_topic_of
from schemas.settings.kubernetes import KubernetesSettings
from tests.unit.headrace.kubernetes.rendering import (
    OVERLAYS,
    amount,
    limited,
    of_kind,
    ray_cluster,
    ray_pods,
    rendered,
    requested,
    source_of,
    source_with,
)

GIB = 2.0**30


def test_all_pods_of_small_fit_a_laptop() -> None:
    documents = rendered(source_with("small"))

    assert requested(documents, "cpu") <= 4
    assert requested(documents, "memory") <= 12 * GIB
    # Nor may they take more, once they run.
    assert limited(documents) <= 12 * GIB


def test_the_worker_of_small_has_room_for_its_replicas() -> None:
    source = source_with("small")
    [group] = ray_cluster(rendered(source))["workerGroupSpecs"]
    [container] = group["template"]["spec"]["containers"]
    settings = source.settings

    reserved = sum(route.consumers * route.consumer_num_cpus for route in settings.routes.values())
    reserved += sum(model.replicas * model.num_cpus for model in settings.models.values())
    assert reserved <= group["replicas"] * amount(container["resources"]["limits"]["cpu"])


def test_gpu_pods_go_where_the_settings_say() -> None:
    size = {
        "cpus": 24,
        "memory_gib": 200,
        "shm_gib": 16,
        "ephemeral_storage_gib": 300,
        "node_selector": {"gpu": "h200"},
        "tolerations": [{"operator": "Exists", "effect": "NoExecute"}],
        "runtime_class": "nvidia",
        "priority_class": "serving",
    }
    documents = rendered(source_with("production", gpu_pods=size))
    pods = {name: template["spec"] for name, template in ray_pods(documents).items()}
    gpu = pods["gpu"]
    [container] = gpu["containers"]

    assert gpu["nodeSelector"] == {"gpu": "h200"}
    assert gpu["runtimeClassName"] == "nvidia"
    assert gpu["priorityClassName"] == "serving"
    # The taint of GPU nodes, too.
    assert [each.get("key") for each in gpu["tolerations"]] == ["nvidia.com/gpu", None]
    limits = container["resources"]["limits"]
    assert limits == container["resources"]["requests"]
    assert (limits["cpu"], limits["memory"]) == ("24", "200Gi")
    assert (limits["nvidia.com/gpu"], limits["ephemeral-storage"]) == ("1", "300Gi")
    volumes = {volume["name"]: volume for volume in gpu["volumes"]}
    [shm] = [mount for mount in container["volumeMounts"] if mount["mountPath"] == "/dev/shm"]
    assert volumes[shm["name"]]["emptyDir"] == {"medium": "Memory", "sizeLimit": "16Gi"}
    for name in ("head", "cpu"):
        assert not {"nodeSelector", "tolerations", "runtimeClassName"} & set(pods[name])


def test_a_placement_in_a_zone_adds_to_the_nodes_that_the_settings_select() -> None:
    zone = "topology.kubernetes.io/zone"
    selector = {"gpu": "h200", zone: "eu-1b"}
    values = dict(source_with("production", gpu_pods={"node_selector": selector}).data)
    model = {
        **values["models"]["chat"],
        "placement": {"labels": {"ray.io/availability-zone": "eu-1a"}},
    }
    documents = rendered(source_of({**values, "models": {**values["models"], "chat": model}}))

    pods = ray_pods(documents)
    gpu = pods["gpu-eu-1a"]["spec"]
    # Ray takes the placement's zone for that of the nodes.
    assert gpu["nodeSelector"] == {"gpu": "h200", zone: "eu-1a"}
    assert gpu["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]
    assert [each["name"] for each in gpu["initContainers"]] == ["weights"]
    assert "nodeSelector" not in pods["cpu"]["spec"]


def test_the_object_store_of_a_pod_fits_its_shared_memory() -> None:
    [cpu, gpu] = ray_cluster(rendered(source_with("production", gpu_pods={"shm_gib": 16})))[
        "workerGroupSpecs"
    ]

    assert "object-store-memory" not in cpu["rayStartParams"]
    assert 0 < int(gpu["rayStartParams"]["object-store-memory"]) < 16 * GIB


def test_pods_are_never_too_small_for_a_replica() -> None:
    documents = rendered(source_with("production", cpu_pods={"cpus": 1}, gpu_pods={"cpus": 1}))
    pods = ray_pods(documents)

    def cpus(name: str) -> float:
        [container] = pods[name]["spec"]["containers"]
        return amount(container["resources"]["limits"]["cpu"])

    assert (cpus("cpu"), cpus("gpu")) == (4, 2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gpu_pods": {"shm_gib": 8, "memory_gib": 8}}, "shm_gib"),
        ({"head": {"tolerations": [{"operator": "Exists", "value": "x"}]}}, "Exists takes none"),
        ({"head": {"tolerations": [{"value": "x"}]}}, "Equal needs one"),
        ({"upgrade": {"pods": "incremental"}}, "incremental goes with"),
        ({"gcs": {"backend": "redis", "address": "redis"}}, "gcs.redis.address"),
        ({"monitoring": {"labels": {"no spaces": "x"}}}, "monitoring.labels"),
        ({"network": {"egress": [{"cidr": "10.0.0.0", "ports": [1]}]}}, "cidr"),
    ],
)
def test_what_kubernetes_would_refuse_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        KubernetesSettings.model_validate(values)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_dlq_needs_is_there_and_allowed(overlay: str) -> None:
    source = source_with(overlay)
    documents = rendered(source)
    topics = {each["spec"]["topicName"]: each["spec"] for each in of_kind(documents, "KafkaTopic")}
    assert source.settings.kafka.sasl is not None
    client = f"{source.settings.kafka.sasl.username}-client"
    users = {each["metadata"]["name"]: each for each in of_kind(documents, "KafkaUser")}
    granted = {
        (acl["resource"]["type"], acl["resource"]["name"]): set(acl["operations"])
        for acl in users[client]["spec"]["authorization"]["acls"]
    }

    for route in source.settings.routes.values():
        letters = route.dead_letters_topic
        handled = handled_topic_of(letters)
        assert topics[handled]["partitions"] == 1
        assert topics[handled]["replicas"] == topics[letters]["replicas"]
        assert topics[handled]["config"]["cleanup.policy"] == "compact"
        # What docs/dead-letters.md lists.
        assert {"Read", "Describe", "Create", "Write"} <= granted["topic", handled]
        assert {"Read", "Describe", "Delete"} <= granted["topic", letters]
        assert {"Read", "Write", "Describe"} <= granted["topic", route.requests_topic]
        assert {"Write", "Describe"} <= granted["transactionalId", f"headrace-dlq.{letters}"]
