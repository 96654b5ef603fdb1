"""The chart's files, from the settings."""

import copy
import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from headrace.kubernetes.helm.templates import Lifted
from headrace.kubernetes.manifests import render_documents, serve_config_text, to_yaml
from headrace.kubernetes.names import SETTINGS_CONFIG_MAP, SETTINGS_DIGEST
from headrace.kubernetes.ray_service import CPU_IMAGE
from headrace.kubernetes.source import RenderSource
from schemas.settings.kubernetes import UpgradeSettings

CHART_HEADER = "# Rendered by `headrace render helm`: change the settings file and render again.\n"
SETTINGS_FILE = "files/headrace.yaml"
SERVE_FILE = "files/serve.yaml"
_SWITCHES = {
    "alerts.yaml": "monitoring.enabled",
    "dashboard.yaml": "monitoring.enabled",
    "monitoring.yaml": "monitoring.enabled",
    "network.yaml": "networkPolicy.enabled",
}
"""Files of templates that a value turns off."""

_HELPERS = f"""\
{{{{- define "headrace.settings" -}}}}
{{{{- default (.Files.Get "{SETTINGS_FILE}") .Values.settings -}}}}
{{{{- end -}}}}

{{{{- define "headrace.settingsDigest" -}}}}
{{{{- include "headrace.settings" . | sha256sum -}}}}
{{{{- end -}}}}

{{{{- /* The pods' file and the applications' arguments are of the same settings. */ -}}}}
{{{{- define "headrace.serveConfig" -}}}}
{{{{- $config := default (.Files.Get "{SERVE_FILE}") .Values.serveConfig -}}}}
{{{{- $first := printf "# {SETTINGS_DIGEST}: %s\\n" (include "headrace.settingsDigest" .) -}}}}
{{{{- if not (hasPrefix $first $config) -}}}}
{{{{- fail "serveConfig is not of settings: make it with `headrace render serve -c FILE`, and give \
both: --set-file settings=FILE --set-file serveConfig=OUTPUT" -}}}}
{{{{- end -}}}}
{{{{- $config -}}}}
{{{{- end -}}}}
"""
_NOTES = """\
Headrace runs when the RayService is ready:

  kubectl get rayservice headrace --namespace {{ .Release.Namespace }}

Topics, users, alerts and the number of pods are those of the settings that the chart was rendered
from. After a change of routes or models, render the chart again.
"""


def chart_files(source: RenderSource) -> dict[str, str]:
    """Return the chart's text by file name; raises as ``render_documents`` does.

    With its default values it renders to what ``render_documents`` returns.
    """
    documents = copy.deepcopy(render_documents(source))
    lifted = Lifted()
    lifted.values |= {"settings": "", "serveConfig": ""}
    _lift_settings(lifted, documents, source.settings.kubernetes.upgrade)
    _lift_ray(lifted, documents["rayservice.yaml"][0]["spec"]["rayClusterConfig"])
    _lift_kafka(lifted, documents.get("kafka.yaml", []))
    _lift_switches(lifted, documents)
    templates = {
        f"templates/{name}": _switched(name, lifted.template("---\n".join(map(to_yaml, found))))
        for name, found in documents.items()
    }
    return {
        "Chart.yaml": CHART_HEADER + to_yaml(_chart()),
        "values.yaml": CHART_HEADER + _values_text(lifted.values),
        "values.schema.json": json.dumps(schema_of(lifted.values), indent=2) + "\n",
        SETTINGS_FILE: source.text,
        SERVE_FILE: serve_config_text(source),
        "templates/_helpers.tpl": _HELPERS,
        "templates/NOTES.txt": _NOTES,
        **templates,
    }


def schema_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of the chart's values: it takes no others than its own."""
    sections = {
        name: schema_of(value) if _is_section(name, value) else _type_of(value)
        for name, value in values.items()
    }
    # Helm's own, where the chart is another one's dependency.
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {**sections, "global": {}},
    }


def _is_section(name: str, value: Any) -> bool:
    return isinstance(value, dict) and name not in _FREE


_FREE = {"resources", "labels", "nodeSelector"}
"""Values that are Kubernetes' own objects."""


def _type_of(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer"}
        case str():
            return {"type": "string"}
        case list():
            return {"type": "array"}
        case _:
            return {"type": "object"}


def _chart() -> dict[str, Any]:
    return {
        "apiVersion": "v2",
        "name": "headrace",
        "description": "Event-driven inference: Kafka topics in, Kafka topics out, Ray Serve "
        "between.",
        "type": "application",
        "version": version("headrace"),
        "appVersion": version("headrace"),
    }


def _lift_settings(
    lifted: Lifted, documents: dict[str, list[dict[str, Any]]], upgrade: UpgradeSettings
) -> None:
    [settings_map] = documents["settings.yaml"]
    [service] = documents["rayservice.yaml"]
    digest = 'toJson (include "headrace.settingsDigest" .)'
    lifted.put(settings_map["data"], "headrace.yaml", 'toJson (include "headrace.settings" .)')
    lifted.put(settings_map["metadata"]["annotations"], SETTINGS_DIGEST, digest)
    lifted.put(service["metadata"]["annotations"], SETTINGS_DIGEST, digest)
    lifted.put(service["spec"], "serveConfigV2", 'toJson (include "headrace.serveConfig" .)')
    if upgrade.settings == "in_place":
        return
    # Pods of the cluster that is being replaced still mount theirs.
    settings_map["metadata"]["annotations"]["helm.sh/resource-policy"] = "keep"
    short = f'{digest.removeprefix("toJson ")} | trunc 10 | printf "{SETTINGS_CONFIG_MAP}-%s"'
    name = f"{short} | toJson"
    lifted.put(settings_map["metadata"], "name", name)
    for template in _templates(service["spec"]["rayClusterConfig"]):
        for volume in template["spec"]["volumes"]:
            if volume["name"] == "settings":
                lifted.put(volume["configMap"], "name", name)


def _lift_ray(lifted: Lifted, cluster: dict[str, Any]) -> None:
    head = cluster["headGroupSpec"]["template"]["spec"]
    _lift_pod(lifted, head, "head")
    for group in cluster["workerGroupSpecs"]:
        path = ("workers", group["groupName"])
        for key in ("replicas", "minReplicas", "maxReplicas"):
            lifted.take(group, key, *path, key)
        _lift_pod(lifted, group["template"]["spec"], *path)


def _lift_pod(lifted: Lifted, pod: dict[str, Any], *path: str) -> None:
    # The image of an init container is that of its pod.
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        kind = "cpu" if container["image"].startswith(f"{CPU_IMAGE}:") else "gpu"
        lifted.take(container, "image", "images", kind)
    lifted.take(pod["containers"][0], "resources", *path, "resources")
    lifted.take_optional(pod, "nodeSelector", *path, "nodeSelector", default={})
    lifted.take_optional(pod, "tolerations", *path, "tolerations", default=[])
    lifted.take_optional(pod, "runtimeClassName", *path, "runtimeClassName", default="")
    lifted.take_optional(pod, "priorityClassName", *path, "priorityClassName", default="")
    lifted.take_optional(pod, "imagePullSecrets", "imagePullSecrets", default=[])


def _lift_kafka(lifted: Lifted, documents: list[dict[str, Any]]) -> None:
    for pool in documents:
        if pool["kind"] != "KafkaNodePool":
            continue
        path = ("kafka", pool["metadata"]["name"])
        [volume] = pool["spec"]["storage"]["volumes"]
        lifted.take(pool["spec"], "replicas", *path, "replicas")
        lifted.take(pool["spec"], "resources", *path, "resources")
        lifted.take(volume, "size", *path, "storage")
        lifted.take_optional(volume, "class", *path, "storageClass", default="")


def _lift_switches(lifted: Lifted, documents: dict[str, list[dict[str, Any]]]) -> None:
    lifted.values["networkPolicy"] = {"enabled": True}
    for name in ("alerts.yaml", "monitoring.yaml"):
        for document in documents.get(name, []):
            lifted.values.setdefault("monitoring", {})["enabled"] = True
            lifted.take(document["metadata"], "labels", "monitoring", "labels")


def _switched(name: str, template: str) -> str:
    switch = _SWITCHES.get(name)
    if switch is None:
        return template
    return f"{{{{- if .Values.{switch} }}}}\n{template}{{{{- end }}}}\n"


def _templates(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    groups = cluster["workerGroupSpecs"]
    return [cluster["headGroupSpec"]["template"], *(group["template"] for group in groups)]


_COMMENTS = {
    "settings": "Another settings file than the chart's own, with its serveConfig:\n"
    "--set-file settings=headrace.yaml --set-file serveConfig=serve.yaml, the second one from\n"
    "`headrace render serve -c headrace.yaml`.",
    "images": "In the registry that the cluster pulls from; by digest: headrace@sha256:...",
    "imagePullSecrets": "Such as [{name: registry}].",
    "head": "Ray's head, on which no replica runs.",
    "workers": "Pods that the autoscaler starts and removes between minReplicas and maxReplicas.",
    "kafka": "Strimzi's node pools.",
    "monitoring": "The label release is that of kube-prometheus-stack's release.",
}


def _values_text(values: Mapping[str, Any]) -> str:
    parts = []
    for name, value in values.items():
        comment = _COMMENTS.get(name, "")
        lines = "".join(f"# {line}\n" for line in comment.splitlines())
        parts.append(lines + to_yaml({name: value}))
    return "\n".join(parts)
