"""Selectors of the pods of the RayService's clusters."""

from typing import Any

from headrace.kubernetes.names import PART_OF

RAY_PODS: dict[str, Any] = {
    "matchLabels": {"app.kubernetes.io/part-of": PART_OF},
    "matchExpressions": [
        {"key": "app.kubernetes.io/component", "operator": "In", "values": ["head", "worker"]}
    ],
}
HEAD_POD: dict[str, Any] = {
    "matchLabels": {"app.kubernetes.io/part-of": PART_OF, "app.kubernetes.io/component": "head"}
}
