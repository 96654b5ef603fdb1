"""Everything that is rendered is what the API server and the operators take."""

from typing import Any

import pytest

from tests.kubernetes.validation import problems_of
from tests.unit.headrace.kubernetes.rendering import OVERLAYS, rendered, source_with

REDIS = {
    "backend": "redis",
    "address": "rediss://redis.example.com:6380",
    "username": {"secret": "redis", "key": "username"},
    "password": {"secret": "redis"},
}
POD = {
    "cpus": 16,
    "memory_gib": 64,
    "shm_gib": 16,
    "ephemeral_storage_gib": 300,
    "node_selector": {"nvidia.com/gpu.product": "NVIDIA-H200"},
    "tolerations": [{"key": "dedicated", "value": "inference", "effect": "NoSchedule"}],
    "runtime_class": "nvidia",
    "priority_class": "serving",
}
VARIANTS: dict[str, dict[str, Any]] = {
    "as committed": {},
    "pods": {"head": {"node_selector": {"pool": "system"}}, "cpu_pods": POD, "gpu_pods": POD},
    "redis": {"gcs": REDIS},
    "rocksdb": {"gcs": {"backend": "rocksdb", "storage_gib": 20, "storage_class": "ssd"}},
    "new cluster": {"upgrade": {"settings": "new_cluster"}},
    "in steps": {"upgrade": {"pods": "incremental", "incremental": {"gateway_class": "istio"}}},
    "no upgrades": {"upgrade": {"pods": "none"}},
    "egress": {
        "network": {
            "dns_cidrs": ["10.96.0.10/32", "fd00::a/128"],
            "egress": [{"cidr": "10.1.0.0/16", "ports": [9092, 9093]}],
        }
    },
    "storage": {"kafka": {"brokers": {"storage_gib": 50, "storage_class": "fast"}}},
    "no Prometheus": {"monitoring": {"enabled": False}},
}


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_document_is_valid(overlay: str, variant: str) -> None:
    documents = rendered(source_with(overlay, **VARIANTS[variant]))

    assert {
        f"{each['kind']}/{each['metadata']['name']}": problems
        for each in documents
        if (problems := problems_of(each))
    } == {}
    names = [(each["kind"], each["metadata"]["name"]) for each in documents]
    assert len(names) == len(set(names))


def test_the_check_finds_what_is_wrong() -> None:
    documents = rendered(source_with("small"))
    for document in documents:
        document["spec" if "spec" in document else "data"]["nonsense"] = {"is": "here"}

    found = {document["kind"] for document in documents if problems_of(document)}
    assert found == {document["kind"] for document in documents}
