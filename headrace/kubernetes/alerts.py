"""The alerts as the Prometheus operator takes them. Pure.

``headrace.observability.alerts`` has them; ``docs/runbooks.md`` says for each what to look at and
what to do.
"""

from typing import Any

from headrace.kubernetes.policies.monitoring import monitoring_labels
from headrace.observability.alerts.groups import alert_groups
from schemas.settings.file import Settings


def prometheus_rule(settings: Settings) -> dict[str, Any]:
    """Return the ``PrometheusRule``: a group of alerts for each route and each model."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": "headrace",
            "labels": monitoring_labels(settings.kubernetes.monitoring),
        },
        "spec": {"groups": alert_groups(settings)},
    }
