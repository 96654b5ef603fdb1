"""Renders a settings file into manifests, as files of a kustomization."""

import math
from importlib.metadata import version
from typing import Any

import yaml

from headrace.kubernetes.alerts import prometheus_rule
from headrace.kubernetes.kafka import kafka_cluster, kafka_topics, kafka_users
from headrace.kubernetes.names import PART_OF, SETTINGS_CONFIG_MAP, strimzi_cluster
from headrace.kubernetes.ray_service import ray_service
from headrace.kubernetes.serve_config import serve_config
from headrace.kubernetes.source import RenderSource
from headrace.kubernetes.weights import weights_claims
from headrace.kubernetes.worker_groups import worker_groups
from headrace.service.stop_times import service_stop_timeout_s
from headrace.topics import wanted_topics
from schemas.settings.file import Settings

HEADER = "# Rendered by `headrace render k8s`: change the settings file and render again.\n"


def render_files(source: RenderSource) -> dict[str, str]:
    """Return the manifests' text by file name, ``kustomization.yaml`` among them.

    Kafka, its topics and its users are included if ``kafka.bootstrap`` is the bootstrap service of
    a Strimzi cluster, ``NAME-kafka-bootstrap``; any other Kafka is managed elsewhere. Raises
    ``UserError`` if the settings do not connect to Strimzi as its listener requires.
    """
    settings = source.settings
    cluster = strimzi_cluster(settings.kafka)
    documents: dict[str, list[dict[str, Any]]] = {"settings.yaml": [settings_map(source.text)]}
    if cluster is not None:
        topics = topics_of(settings)
        documents["kafka.yaml"] = kafka_cluster(settings, cluster, topics)
        documents["topics.yaml"] = kafka_topics(settings, cluster, topics)
        documents["users.yaml"] = kafka_users(settings, cluster)
    if claims := weights_claims(settings):
        documents["weights.yaml"] = claims
    documents["alerts.yaml"] = [prometheus_rule(settings, cluster)]
    documents["rayservice.yaml"] = [
        ray_service(
            settings,
            serve_config_text=to_yaml(serve_config(settings)),
            groups=worker_groups(settings),
            cluster=cluster,
            stop_timeout_s=math.ceil(service_stop_timeout_s(settings)),
            version=version("headrace"),
            ray_version=version("ray"),
        )
    ]
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": sorted(documents),
    }
    files = {name: HEADER + "---\n".join(map(to_yaml, found)) for name, found in documents.items()}
    return {**files, "kustomization.yaml": HEADER + to_yaml(kustomization)}


def topics_of(settings: Settings) -> dict[str, tuple[int, int]]:
    return {
        name: (info.partitions, info.replication_factor)
        for name, info in sorted(wanted_topics(settings).items())
    }


def settings_map(text: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": SETTINGS_CONFIG_MAP,
            "labels": {"app.kubernetes.io/part-of": PART_OF},
        },
        "data": {"headrace.yaml": text},
    }


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text_node)


def to_yaml(value: Any) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=96, allow_unicode=True)
