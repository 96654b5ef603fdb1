"""What KubeRay keeps of a cluster, and how it replaces one."""

from typing import Any

from headrace.kubernetes.pods.quantities import gib_quantity
from schemas.settings.kubernetes import (
    GcsSettings,
    RedisSettings,
    SecretKeySettings,
    UpgradeSettings,
)

_STRATEGIES = {
    "new_cluster": "NewCluster",
    "incremental": "NewClusterWithIncrementalUpgrade",
    "none": "None",
}


def upgrade_strategy(settings: UpgradeSettings) -> dict[str, Any]:
    """Return the RayService's ``upgradeStrategy``: what a change of the pods does."""
    strategy: dict[str, Any] = {"type": _STRATEGIES[settings.pods]}
    steps = settings.incremental
    if steps is not None:
        strategy["clusterUpgradeOptions"] = {
            "gatewayClassName": steps.gateway_class,
            "stepSizePercent": steps.step_percent,
            "intervalSeconds": steps.interval_s,
            "maxSurgePercent": steps.max_surge_percent,
        }
    return strategy


def gcs_fault_tolerance(settings: GcsSettings | None) -> dict[str, Any]:
    """Return the cluster's ``gcsFaultToleranceOptions`` under that key; empty if there are none.

    Passwords are by reference. RocksDB's volume is KubeRay's, one for each cluster.
    """
    if settings is None:
        return {}
    if isinstance(settings, RedisSettings):
        options: dict[str, Any] = {"backend": "redis", "redisAddress": settings.address}
        if settings.username is not None:
            options["redisUsername"] = _secret_key(settings.username)
        if settings.password is not None:
            options["redisPassword"] = _secret_key(settings.password)
    else:
        storage = {"size": gib_quantity(settings.storage_gib)}
        if settings.storage_class is not None:
            storage["storageClassName"] = settings.storage_class
        options = {"backend": "rocksdb", "storage": storage}
    return {"gcsFaultToleranceOptions": options}


def _secret_key(settings: SecretKeySettings) -> dict[str, Any]:
    reference = {"name": settings.secret, "key": settings.key}
    return {"valueFrom": {"secretKeyRef": reference}}
