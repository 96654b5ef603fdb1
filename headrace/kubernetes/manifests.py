"""Renders a settings file into manifests, as files of a kustomization."""

import math
from importlib.metadata import version
from typing import Any

import yaml

from headrace.dead_letters.handled_topic import handled_topic_of
from headrace.errors import UserError
from headrace.kubernetes.alerts import prometheus_rule
from headrace.kubernetes.console import console_service
from headrace.kubernetes.dashboard import dashboard_map
from headrace.kubernetes.kafka import kafka_cluster, kafka_topics, kafka_users
from headrace.kubernetes.names import (
    PART_OF,
    SETTINGS_DIGEST,
    settings_digest,
    settings_map_name,
    strimzi_cluster,
)
from headrace.kubernetes.placement.hosting import unhosted
from headrace.kubernetes.policies.disruption import disruption_budgets
from headrace.kubernetes.policies.monitoring import pod_monitors
from headrace.kubernetes.policies.network import network_policies
from headrace.kubernetes.ray_service import ray_service
from headrace.kubernetes.serve_config import serve_config
from headrace.kubernetes.source import RenderSource
from headrace.kubernetes.weights import weights_claims
from headrace.kubernetes.worker_groups import worker_groups
from headrace.service.stop_times import service_stop_timeout_s
from headrace.topics import wanted_topics
from schemas.settings.file import Settings
from schemas.settings.kubernetes import UpgradeSettings

HEADER = "# Rendered by `headrace render k8s`: change the settings file and render again.\n"


def render_files(source: RenderSource) -> dict[str, str]:
    """Return the manifests' text by file name, ``kustomization.yaml`` among them.

    Raises as ``render_documents`` does.
    """
    documents = render_documents(source)
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": sorted(documents),
    }
    files = {name: HEADER + "---\n".join(map(to_yaml, found)) for name, found in documents.items()}
    return {**files, "kustomization.yaml": HEADER + to_yaml(kustomization)}


def render_documents(source: RenderSource) -> dict[str, list[dict[str, Any]]]:
    """Return the manifests by file name.

    Kafka, its topics and its users are included if ``kafka.bootstrap`` is the bootstrap service of
    a Strimzi cluster, ``NAME-kafka-bootstrap``; any other Kafka is managed elsewhere. Raises
    ``UserError`` if the settings do not connect to Strimzi as its listener requires, or place
    replicas where none of the worker groups can have them.
    """
    settings = source.settings
    if homeless := unhosted(settings):
        raise UserError("\n".join(homeless))
    cluster = strimzi_cluster(settings.kafka)
    if cluster is not None and settings.results_kafka is not None:
        raise UserError(
            "results_kafka: beside a Strimzi cluster, whose topics and users are rendered, there "
            "can be no second one; name kafka.bootstrap by another address of the same cluster, "
            "and manage its topics and users yourself"
        )
    groups = worker_groups(settings)
    digest = settings_digest(source.text)
    documents: dict[str, list[dict[str, Any]]] = {
        "settings.yaml": [settings_map(source.text, settings.kubernetes.upgrade)],
        "disruption.yaml": disruption_budgets(settings.kubernetes, groups),
        "network.yaml": network_policies(settings, cluster),
    }
    if cluster is not None:
        topics = topics_of(settings)
        documents["kafka.yaml"] = kafka_cluster(settings, cluster, topics)
        documents["topics.yaml"] = kafka_topics(settings, cluster, topics)
        documents["users.yaml"] = kafka_users(settings, cluster)
    if (console := console_service(settings.console)) is not None:
        documents["console.yaml"] = [console]
    if claims := weights_claims(settings):
        documents["weights.yaml"] = claims
    monitoring = settings.kubernetes.monitoring
    if monitoring.enabled:
        documents["alerts.yaml"] = [prometheus_rule(settings)]
        documents["monitoring.yaml"] = pod_monitors(monitoring, cluster)
        documents["dashboard.yaml"] = [dashboard_map()]
    documents["rayservice.yaml"] = [
        ray_service(
            settings,
            serve_config_text=serve_config_text(source),
            groups=groups,
            cluster=cluster,
            stop_timeout_s=math.ceil(service_stop_timeout_s(settings)),
            settings_digest=digest,
            version=version("headrace"),
            ray_version=version("ray"),
        )
    ]
    return documents


def serve_config_text(source: RenderSource) -> str:
    """Return Ray Serve's config as YAML, and of which settings file it is."""
    digest = settings_digest(source.text)
    return f"# {SETTINGS_DIGEST}: {digest}\n{to_yaml(serve_config(source.settings))}"


def topics_of(settings: Settings) -> dict[str, tuple[int, int]]:
    """Return partitions and replication factor of each topic, by its name.

    Among them are those of `headrace dlq`, which makes its own where it may.
    """
    topics = {
        name: (info.partitions, info.replication_factor)
        for name, info in wanted_topics(settings).items()
    }
    for route in settings.routes.values():
        letters = route.dead_letters_topic
        topics[handled_topic_of(letters)] = (1, topics[letters][1])
    return dict(sorted(topics.items()))


def settings_map(text: str, upgrade: UpgradeSettings) -> dict[str, Any]:
    """Return the ConfigMap of the settings file; one that is named by its content is for ever."""
    digest = settings_digest(text)
    document: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": settings_map_name(upgrade, digest),
            "labels": {"app.kubernetes.io/part-of": PART_OF},
            "annotations": {SETTINGS_DIGEST: digest},
        },
        "data": {"headrace.yaml": text},
    }
    return document if upgrade.settings == "in_place" else {**document, "immutable": True}


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
