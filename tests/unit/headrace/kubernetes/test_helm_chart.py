"""The Helm chart renders to the same manifests, and its values change what they say."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from headrace.cli import main
from headrace.kubernetes.helm.chart import chart_files
from headrace.kubernetes.manifests import serve_config_text
from headrace.kubernetes.source import parse_source
from tests.kubernetes.helm import Chart, HelmError
from tests.kubernetes.validation import problems_of
from tests.unit.headrace.kubernetes.rendering import (
    K8S,
    OVERLAYS,
    of_kind,
    ray_cluster,
    ray_pods,
    rendered,
    settings_map_of,
    source_with,
)

HELM = os.environ.get("HELM") or shutil.which("helm")
VARIANTS: dict[str, dict[str, Any]] = {
    "as committed": {},
    "new cluster": {"upgrade": {"settings": "new_cluster"}},
    "placed": {"gpu_pods": {"node_selector": {"gpu": "h200"}, "runtime_class": "nvidia"}},
    "no Prometheus": {"monitoring": {"enabled": False}},
}


def by_name(documents: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(each["kind"], each["metadata"]["name"]): each for each in documents}


def expected(documents: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    found = by_name(documents)
    for (kind, _), document in found.items():
        if kind == "ConfigMap" and document.get("immutable"):
            document["metadata"]["annotations"]["helm.sh/resource-policy"] = "keep"
    return found


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_with_its_own_values_a_chart_is_the_manifests(overlay: str, variant: str) -> None:
    source = source_with(overlay, **VARIANTS[variant])

    assert by_name(Chart(chart_files(source)).render()) == expected(rendered(source))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_its_values_are_what_its_schema_takes_and_no_others(overlay: str) -> None:
    files = chart_files(source_with(overlay))
    schema = json.loads(files["values.schema.json"])
    values = yaml.safe_load(files["values.yaml"])

    jsonschema.validate(values, schema)
    with pytest.raises(jsonschema.ValidationError, match="image"):
        jsonschema.validate({**values, "image": "headrace:1"}, schema)


def test_what_people_change_is_a_value() -> None:
    documents = Chart(chart_files(source_with("production"))).render(
        images={"cpu": "registry.example.com/headrace:9", "gpu": "registry.example.com/gpu:9"},
        imagePullSecrets=[{"name": "registry"}],
        workers={"gpu": {"replicas": 3, "maxReplicas": 9, "nodeSelector": {"gpu": "h200"}}},
        kafka={"brokers": {"storage": "900Gi", "storageClass": "fast"}},
        monitoring={"labels": {"release": "prom"}},
        networkPolicy={"enabled": False},
    )

    assert [problems for each in documents if (problems := problems_of(each))] == []
    images = {
        name: [container["image"] for container in template["spec"]["containers"]]
        for name, template in ray_pods(documents).items()
    }
    assert images["head"] == images["cpu"] == ["registry.example.com/headrace:9"]
    assert images["gpu"] == ["registry.example.com/gpu:9"]
    for template in ray_pods(documents).values():
        assert template["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    [cpu, gpu] = ray_cluster(documents)["workerGroupSpecs"]
    assert (gpu["replicas"], gpu["maxReplicas"]) == (3, 9)
    assert gpu["template"]["spec"]["nodeSelector"] == {"gpu": "h200"}
    assert "nodeSelector" not in cpu["template"]["spec"]
    [brokers] = [
        each
        for each in of_kind(documents, "KafkaNodePool")
        if each["metadata"]["name"] == "brokers"
    ]
    [volume] = brokers["spec"]["storage"]["volumes"]
    assert (volume["size"], volume["class"]) == ("900Gi", "fast")
    for each in (*of_kind(documents, "PodMonitor"), *of_kind(documents, "PrometheusRule")):
        assert each["metadata"]["labels"]["release"] == "prom"
        assert each["metadata"]["labels"]["app.kubernetes.io/part-of"] == "headrace"
    assert of_kind(documents, "NetworkPolicy") == []


def test_groups_of_a_placement_have_values_whatever_their_names() -> None:
    settings = yaml.safe_load((K8S / "overlays" / "production" / "headrace.yaml").read_text())
    zone = {"ray.io/availability-zone": "eu-1a"}
    settings["models"]["chat"]["placement"] = {"labels": zone}
    settings["routes"]["chat"]["placement"] = {"labels": {"ray.io/node-group": "large_2.x"}}
    source = parse_source(yaml.safe_dump(settings).encode(), "headrace.yaml")
    chart = Chart(chart_files(source))

    assert by_name(chart.render()) == by_name(rendered(source))
    groups = {
        each["groupName"]: each
        for each in ray_cluster(
            chart.render(
                workers={
                    "gpu-eu-1a": {"maxReplicas": 9, "nodeSelector": {"gpu": "h200"}},
                    "large_2.x": {"replicas": 7},
                }
            )
        )["workerGroupSpecs"]
    }
    assert groups["gpu-eu-1a"]["maxReplicas"] == 9
    assert groups["gpu-eu-1a"]["template"]["spec"]["nodeSelector"]["gpu"] == "h200"
    assert groups["large_2.x"]["replicas"] == 7


def test_settings_come_with_the_applications_that_are_made_of_them() -> None:
    chart = Chart(chart_files(source_with("small")))
    text = (K8S / "overlays" / "small" / "headrace.yaml").read_text() + "# changed\n"
    other = parse_source(text.encode(), "headrace.yaml")

    documents = chart.render(settings=other.text, serveConfig=serve_config_text(other))
    settings_map = settings_map_of(documents)
    [service] = of_kind(documents, "RayService")
    assert settings_map["data"]["headrace.yaml"] == other.text
    assert service["spec"]["serveConfigV2"] == serve_config_text(other)
    assert settings_map["metadata"]["annotations"] == service["metadata"]["annotations"]
    with pytest.raises(HelmError, match="render serve"):
        chart.render(settings=other.text)
    with pytest.raises(HelmError, match="render serve"):
        chart.render(serveConfig=serve_config_text(other))


def test_braces_of_the_manifests_are_no_templates() -> None:
    source = source_with("small", monitoring={"labels": {"release": "x"}})
    files = chart_files(source)
    files["templates/alerts.yaml"] = files["templates/alerts.yaml"].replace(
        "no consumer replica reports", '{{ "{{" }} $value }}'
    )

    [rule] = of_kind(Chart(files).render(), "PrometheusRule")
    summaries = [
        each["annotations"]["summary"]
        for group in rule["spec"]["groups"]
        for each in group["rules"]
    ]
    assert "embeddings: {{ $value }}" in summaries


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    return int(caught.value.code or 0)


def test_the_command_writes_a_chart_that_check_then_accepts(tmp_path: Path) -> None:
    settings = str(K8S / "overlays" / "small" / "headrace.yaml")
    chart = str(tmp_path / "chart")

    assert run("render", "helm", "-c", settings, "-o", chart, "--check") == 1
    assert run("render", "helm", "-c", settings, "-o", chart) == 0
    assert run("render", "helm", "-c", settings, "-o", chart, "--check") == 0
    metadata = yaml.safe_load((tmp_path / "chart" / "Chart.yaml").read_text())
    assert metadata["apiVersion"] == "v2"


@pytest.mark.skipif(HELM is None, reason="needs helm on PATH, or in $HELM")
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_helm_itself_renders_the_same(overlay: str, tmp_path: Path) -> None:
    source = source_with(overlay)
    for name, text in chart_files(source).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    command = [str(HELM), "template", "headrace", str(tmp_path)]
    outcome = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    documents = [each for each in yaml.safe_load_all(outcome.stdout) if each]
    assert by_name(documents) == by_name(rendered(source))
