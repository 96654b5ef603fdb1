"""The dashboard as a ConfigMap, which Grafana's sidecar of kube-prometheus-stack loads. Pure."""

from typing import Any

import orjson

from headrace.kubernetes.names import PART_OF
from headrace.observability.dashboard import dashboard

SIDECAR_LABEL = "grafana_dashboard"


def dashboard_map() -> dict[str, Any]:
    text = orjson.dumps(dashboard(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "headrace-dashboard",
            "labels": {"app.kubernetes.io/part-of": PART_OF, SIDECAR_LABEL: "1"},
            # Beside KubeRay's boards, where the sidecar sorts by folder.
            "annotations": {"grafana_folder": "Ray"},
        },
        "data": {"headrace.json": text.decode()},
    }
