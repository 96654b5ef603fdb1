"""PodMonitors: which pods the Prometheus operator's Prometheus reads."""

from typing import Any

from headrace.kubernetes.names import PART_OF, StrimziCluster
from headrace.kubernetes.policies.selectors import RAY_PODS
from schemas.settings.kubernetes import MonitoringSettings


def monitoring_labels(settings: MonitoringSettings) -> dict[str, str]:
    return {"app.kubernetes.io/part-of": PART_OF, **settings.labels}


def pod_monitors(
    settings: MonitoringSettings, cluster: StrimziCluster | None
) -> list[dict[str, Any]]:
    """Return the monitor of Ray's metrics, and with Strimzi that of the exporter of the lag."""
    ray = {
        "port": "metrics",
        "interval": "15s",
        "relabelings": [
            # During an upgrade two clusters report.
            {
                "sourceLabels": ["__meta_kubernetes_pod_label_ray_io_cluster"],
                "targetLabel": "ray_io_cluster",
            }
        ],
    }
    monitors = [_monitor("headrace", settings, RAY_PODS, ray)]
    if cluster is not None:
        exporter = {
            "matchLabels": {
                "strimzi.io/cluster": cluster.name,
                "app.kubernetes.io/name": "kafka-exporter",
            }
        }
        endpoint = {"port": "tcp-prometheus", "interval": "30s"}
        monitors.append(_monitor("headrace-kafka-exporter", settings, exporter, endpoint))
    return monitors


def _monitor(
    name: str, settings: MonitoringSettings, selector: dict[str, Any], endpoint: dict[str, Any]
) -> dict[str, Any]:
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {"name": name, "labels": monitoring_labels(settings)},
        "spec": {"selector": selector, "podMetricsEndpoints": [endpoint]},
    }
