"""What a change of the settings changes in the manifests, and what outlives the head."""

from typing import Any

import pytest
import yaml

from headrace.kubernetes.names import SETTINGS_DIGEST
from headrace.kubernetes.source import RenderSource, parse_source
from tests.unit.headrace.kubernetes.rendering import (
    OVERLAYS,
    of_kind,
    ray_cluster,
    ray_pods,
    rendered,
    settings_map_of,
    source_with,
)

ROCKSDB = {"backend": "rocksdb"}


def changed(source: RenderSource, before: str, after: str) -> RenderSource:
    assert before in source.text
    return parse_source(source.text.replace(before, after).encode(), "headrace.yaml")


def digests(documents: list[dict[str, Any]]) -> set[str]:
    """Return of which settings the ConfigMap, the RayService and its applications say they are."""
    settings_map = settings_map_of(documents)
    [service] = of_kind(documents, "RayService")
    first_line = service["spec"]["serveConfigV2"].partition("\n")[0]
    return {
        settings_map["metadata"]["annotations"][SETTINGS_DIGEST],
        service["metadata"]["annotations"][SETTINGS_DIGEST],
        first_line.removeprefix(f"# {SETTINGS_DIGEST}: "),
    }


def test_pods_and_applications_name_the_settings_that_they_are_of() -> None:
    source = source_with("small")
    before = digests(rendered(source))
    after = digests(rendered(changed(source, "num_cpus: 1", "num_cpus: 2")))

    assert len(before) == len(after) == 1
    assert before != after


def test_in_place_a_change_of_a_route_leaves_the_pods_as_they_are() -> None:
    source = source_with("production")
    other = changed(
        source, "drain_timeout_s: 120", "drain_timeout_s: 120\n    commit_interval_ms: 50"
    )
    before, after = rendered(source), rendered(other)

    # KubeRay makes a new cluster for another rayClusterConfig, and changes the rest in place.
    assert ray_cluster(before) == ray_cluster(after)
    [old], [new] = of_kind(before, "RayService"), of_kind(after, "RayService")
    assert old["spec"]["serveConfigV2"] != new["spec"]["serveConfigV2"]


def test_with_a_new_cluster_for_each_change_no_pod_sees_another_file() -> None:
    source = source_with("small", upgrade={"settings": "new_cluster"})
    other = changed(source, "num_cpus: 1", "num_cpus: 2")
    names = []
    for documents in (rendered(source), rendered(other)):
        settings_map = settings_map_of(documents)
        assert settings_map["immutable"] is True
        mounted = {
            volume["configMap"]["name"]
            for template in ray_pods(documents).values()
            for volume in template["spec"]["volumes"]
            if "configMap" in volume
        }
        assert mounted == {settings_map["metadata"]["name"]}
        names.append(settings_map["metadata"]["name"])

    assert names[0] != names[1]
    assert ray_cluster(rendered(source)) != ray_cluster(rendered(other))


@pytest.mark.parametrize(
    ("pods", "strategy"),
    [
        ("new_cluster", {"type": "NewCluster"}),
        ("none", {"type": "None"}),
        (
            "incremental",
            {
                "type": "NewClusterWithIncrementalUpgrade",
                "clusterUpgradeOptions": {
                    "gatewayClassName": "istio",
                    "stepSizePercent": 20,
                    "intervalSeconds": 60,
                    "maxSurgePercent": 20,
                },
            },
        ),
    ],
)
def test_a_change_of_the_pods_does_what_the_settings_say(
    pods: str, strategy: dict[str, Any]
) -> None:
    steps = {"incremental": {"gateway_class": "istio"}} if pods == "incremental" else {}
    [service] = of_kind(
        rendered(source_with("small", upgrade={"pods": pods, **steps})), "RayService"
    )

    assert service["spec"]["upgradeStrategy"] == strategy


def test_a_redis_is_named_and_its_secrets_are_references() -> None:
    redis = {
        "backend": "redis",
        "address": "redis.example.com:6379",
        "password": {"secret": "redis", "key": "pass"},
    }
    documents = rendered(source_with("production", gcs=redis))

    assert ray_cluster(documents)["gcsFaultToleranceOptions"] == {
        "backend": "redis",
        "redisAddress": "redis.example.com:6379",
        "redisPassword": {"valueFrom": {"secretKeyRef": {"name": "redis", "key": "pass"}}},
    }


def test_rocksdb_has_a_volume_of_its_own_in_each_cluster() -> None:
    gcs = {"backend": "rocksdb", "storage_gib": 20, "storage_class": "ssd"}
    options = ray_cluster(rendered(source_with("production", gcs=gcs)))["gcsFaultToleranceOptions"]

    # A claim that is named would be shared by two clusters in an upgrade, and has one writer.
    assert options["storage"] == {"size": "20Gi", "storageClassName": "ssd"}


def test_a_head_takes_the_service_down_only_if_nothing_outlives_it() -> None:
    def role(**kubernetes: Any) -> str:
        head = ray_pods(rendered(source_with("production", **kubernetes)))["head"]
        [container] = head["spec"]["containers"]
        command: list[str] = container["lifecycle"]["preStop"]["exec"]["command"]
        return command[command.index("--timeout-s") - 1]

    assert role() == "head"
    assert role(gcs=ROCKSDB) == "outlived-head"


def budgets(overlay: str, **kubernetes: Any) -> dict[str, int]:
    found = of_kind(rendered(source_with(overlay, **kubernetes)), "PodDisruptionBudget")
    return {each["metadata"]["name"]: each["spec"]["minAvailable"] for each in found}


def test_a_node_may_be_drained_of_a_head_that_the_cluster_outlives() -> None:
    assert budgets("production") == {"headrace-workers": 1, "headrace-head": 1}
    assert budgets("production", gcs=ROCKSDB)["headrace-head"] == 0
    assert budgets("production", head={"is_evictable": True})["headrace-head"] == 0
    # The only worker must not hold a node for ever.
    assert budgets("small")["headrace-workers"] == 0


def test_the_settings_of_a_rendering_are_in_its_pods_as_they_were_given() -> None:
    source = source_with("small")
    settings_map = settings_map_of(rendered(source))

    assert settings_map["data"] == {"headrace.yaml": source.text}
    assert yaml.safe_load(source.text)["kubernetes"]["head"]["cpus"] == 0.5


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"gcs": {"backend": "redis", "address": "redis:6379", "password": {"secret": "redis"}}},
        {"gcs": ROCKSDB},
        {"upgrade": {"pods": "incremental", "incremental": {"gateway_class": "istio"}}},
    ],
    ids=["plain", "redis", "rocksdb", "in steps"],
)
def test_kuberay_takes_what_its_schema_alone_does_not_decide(
    overlay: str, variant: dict[str, Any]
) -> None:
    """What the operator's own validation refuses (KubeRay 1.7)."""
    documents = rendered(source_with(overlay, **variant))
    [service] = of_kind(documents, "RayService")
    cluster = ray_cluster(documents)
    pods = ray_pods(documents)
    [head] = pods["head"]["spec"]["containers"]
    variables = {each["name"] for each in head["env"]}

    assert len(service["metadata"]["name"]) <= 47
    assert cluster["authOptions"]["mode"] == "token"
    assert tuple(map(int, cluster["rayVersion"].split("."))) >= (2, 57, 0)
    # Autoscaler v2 replaces pods, and does not have them restarted.
    assert all("restartPolicy" not in pod["spec"] for pod in pods.values())
    options = cluster.get("gcsFaultToleranceOptions", {})
    redis_only = {"redisAddress", "redisUsername", "redisPassword", "externalStorageNamespace"}
    if options.get("backend") == "rocksdb":
        assert not redis_only & set(options)
        assert not {each["mountPath"] for each in head["volumeMounts"]} & {"/data/gcs"}
    else:
        assert "storage" not in options
    assert not variables & {
        *("RAY_REDIS_ADDRESS", "REDIS_PASSWORD", "REDIS_USERNAME"),
        *("RAY_gcs_storage", "RAY_gcs_storage_path", "RAY_enable_autoscaler_v2"),
    }
    if service["spec"]["upgradeStrategy"]["type"] == "NewClusterWithIncrementalUpgrade":
        assert cluster["enableInTreeAutoscaling"] is True
        steps = service["spec"]["upgradeStrategy"]["clusterUpgradeOptions"]
        assert 0 < steps["stepSizePercent"] <= 100
        assert 0 < steps["maxSurgePercent"] <= 100
        assert steps["gatewayClassName"]
