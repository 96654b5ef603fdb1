"""How many pods a drain of nodes may take away at once."""

from collections.abc import Sequence
from typing import Any

from headrace.kubernetes.names import PART_OF
from headrace.kubernetes.worker_groups import WorkerGroup
from schemas.settings.kubernetes import KubernetesSettings


def disruption_budgets(
    settings: KubernetesSettings, groups: Sequence[WorkerGroup]
) -> list[dict[str, Any]]:
    """Return the budgets of workers and head.

    Workers may go one after another, since each drains its replicas first. Without fault tolerance
    of the GCS the cluster ends with its head, so that an upgrade moves it, not an eviction. No
    Kubernetes controller owns Ray's pods, so ``minAvailable`` has to be a number.
    """
    is_lone = sum(group.least_pods for group in groups) <= 1
    may_lose_head = settings.head.is_evictable or settings.gcs is not None
    return [_budget("worker", 0 if is_lone else 1), _budget("head", 0 if may_lose_head else 1)]


def _budget(component: str, least: int) -> dict[str, Any]:
    labels = {"app.kubernetes.io/part-of": PART_OF, "app.kubernetes.io/component": component}
    name = "headrace-workers" if component == "worker" else "headrace-head"
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": PART_OF}},
        "spec": {"minAvailable": least, "selector": {"matchLabels": labels}},
    }
