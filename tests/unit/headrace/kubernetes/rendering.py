"""Renderings for tests: the overlays' settings, changed or not, and what is in the outcome."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from headrace.kubernetes.manifests import render_documents
from headrace.kubernetes.source import RenderSource, parse_source

K8S = Path(__file__).parents[4] / "k8s"
OVERLAYS = sorted(path.name for path in (K8S / "overlays").iterdir())


def source_with(overlay: str, **kubernetes: Any) -> RenderSource:
    """Return an overlay's settings, with keys of the ``kubernetes`` section laid over its own."""
    values = yaml.safe_load((K8S / "overlays" / overlay / "headrace.yaml").read_text())
    values["kubernetes"] = {**values.get("kubernetes", {}), **kubernetes}
    return source_of(values)


def source_of(values: Mapping[str, Any]) -> RenderSource:
    return parse_source(yaml.safe_dump(dict(values), sort_keys=False).encode(), "headrace.yaml")


def rendered(source: RenderSource) -> list[dict[str, Any]]:
    return [each for found in render_documents(source).values() for each in found]


def of_kind(documents: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [each for each in documents if each["kind"] == kind]


def settings_map_of(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the ConfigMap of the settings; the dashboard has another."""
    [found] = [each for each in of_kind(documents, "ConfigMap") if "headrace.yaml" in each["data"]]
    return found


def ray_cluster(documents: list[dict[str, Any]]) -> dict[str, Any]:
    [service] = of_kind(documents, "RayService")
    cluster: dict[str, Any] = service["spec"]["rayClusterConfig"]
    return cluster


def ray_pods(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the pod templates: ``head``, and workers by the name of their group."""
    cluster = ray_cluster(documents)
    workers = {each["groupName"]: each["template"] for each in cluster["workerGroupSpecs"]}
    return {"head": cluster["headGroupSpec"]["template"], **workers}


def amount(quantity: str | int) -> float:
    """Return a quantity in CPUs or bytes."""
    text = str(quantity)
    units = {"m": 0.001, "Mi": 2.0**20, "Gi": 2.0**30}
    for unit, factor in units.items():
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    return float(text)


def requested(documents: list[dict[str, Any]], resource: str) -> float:
    """Return what all pods of a rendering request of ``cpu`` or ``memory``."""
    return sum(
        pods * amount(container["resources"]["requests"][resource])
        for pods, container in _containers(documents)
    )


def limited(documents: list[dict[str, Any]]) -> float:
    """Return the most memory that all pods may take, in bytes."""
    return sum(
        pods * amount(container["resources"]["limits"]["memory"])
        for pods, container in _containers(documents)
    )


def _containers(documents: list[dict[str, Any]]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield how many pods have which container, init containers left out: these run before."""
    cluster = ray_cluster(documents)
    if cluster["enableInTreeAutoscaling"]:
        yield 1, cluster["autoscalerOptions"]
    for container in cluster["headGroupSpec"]["template"]["spec"]["containers"]:
        yield 1, container
    for group in cluster["workerGroupSpecs"]:
        for container in group["template"]["spec"]["containers"]:
            yield group["replicas"], container
    for pool in of_kind(documents, "KafkaNodePool"):
        yield pool["spec"]["replicas"], pool["spec"]
    for kafka in of_kind(documents, "Kafka"):
        yield from ((1, each) for each in kafka["spec"]["entityOperator"].values())
        yield 1, kafka["spec"]["kafkaExporter"]
