"""Strimzi's resources for the settings' Kafka: cluster, node pools, topics, users. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from consumer.kafka.transactions.names import (
    earlier_transactional_prefix_of,
    transactional_prefix_of,
)
from headrace.dead_letters.handled_topic import handled_topic_of, transactional_id
from headrace.kubernetes.names import PART_OF, StrimziCluster, resource_name
from headrace.kubernetes.pods.quantities import gib_quantity, resources
from headrace.topics import topic_settings
from schemas.settings.file import RouteSettings, Settings
from schemas.settings.kubernetes import KafkaNodesSettings
from schemas.wire.reply_topics import is_prefix, stem_of

API_VERSION = "kafka.strimzi.io/v1"
CLIENT_LABEL = "headrace.io/kafka-client"
"""Pods that carry it with the value "true" reach the brokers' listener."""

HANDLED_TOPIC_SETTINGS: Mapping[str, str] = MappingProxyType({"cleanup.policy": "compact"})
"""As `headrace dlq` makes it."""

_CONTROLLERS = 3
_OPERATOR_CPUS, _OPERATOR_MEMORY_GIB = 0.1, 0.5
"""Of each of Strimzi's two operators of the cluster's topics and users."""
_EXPORTER_CPUS, _EXPORTER_MEMORY_GIB = 0.1, 0.125
_RECORD_MARGIN_BYTES = 64 * 1024
"""The rest of a record beside its value: key, headers, and what a batch adds."""
_KAFKA_MAX_MESSAGE_BYTES = 1_048_588
_KAFKA_MIN_SESSION_TIMEOUT_MS = 6_000
_KAFKA_MAX_SESSION_TIMEOUT_MS = 1_800_000
_KAFKA_MAX_TRANSACTION_TIMEOUT_MS = 900_000
_USER_ID = 1001
"""Of Strimzi's images."""


def in_sync_replicas(replication_factor: int) -> int:
    """Return ``min.insync.replicas``: one broker may be down, if there is one to spare."""
    return max(1, replication_factor - 1)


def kafka_cluster(
    settings: Settings, cluster: StrimziCluster, topics: Mapping[str, tuple[int, int]]
) -> list[dict[str, Any]]:
    """Return the ``Kafka`` resource and its node pools.

    One replica asks for one node that is broker and controller; several ask for as many brokers,
    and three separate controllers. ``topics`` has partitions and replication factor by topic.
    """
    replicas = max(replication for _, replication in topics.values())
    operator = resources(_OPERATOR_CPUS, _OPERATOR_MEMORY_GIB, limits_cpus=False)
    kafka = {
        "apiVersion": API_VERSION,
        "kind": "Kafka",
        "metadata": {"name": cluster.name, "labels": _labels("kafka")},
        "spec": {
            "kafka": {
                "listeners": [
                    {
                        "name": "tls",
                        "port": cluster.port,
                        "type": "internal",
                        "tls": True,
                        "authentication": {"type": "scram-sha-512"},
                        "networkPolicyPeers": [
                            {"podSelector": {"matchLabels": {CLIENT_LABEL: "true"}}}
                        ],
                    }
                ],
                "authorization": {"type": "simple"},
                "config": _broker_config(settings, replicas),
            },
            "entityOperator": {
                "topicOperator": {"resources": operator},
                "userOperator": {"resources": operator},
            },
            # It reads the lag from outside, so that an alert does not depend on the service's
            # health.
            "kafkaExporter": {
                "groupRegex": "|".join(
                    sorted({_literal(route.group) for route in settings.routes.values()})
                ),
                "topicRegex": "|".join(
                    sorted({_literal(route.requests_topic) for route in settings.routes.values()})
                ),
                "resources": resources(_EXPORTER_CPUS, _EXPORTER_MEMORY_GIB, limits_cpus=False),
            },
        },
    }
    sizes = settings.kubernetes.kafka
    if replicas == 1:
        pools = [_pool(cluster, "nodes", 1, ["controller", "broker"], sizes.brokers)]
    else:
        pools = [
            _pool(cluster, "controllers", _CONTROLLERS, ["controller"], sizes.controllers),
            _pool(cluster, "brokers", max(replicas, 3), ["broker"], sizes.brokers),
        ]
    return [kafka, *pools]


def kafka_topics(
    settings: Settings, cluster: StrimziCluster, topics: Mapping[str, tuple[int, int]]
) -> list[dict[str, Any]]:
    largest = _largest_values_bytes(settings)
    own = {
        **topic_settings(settings),
        **{
            handled_topic_of(route.dead_letters_topic): HANDLED_TOPIC_SETTINGS
            for route in settings.routes.values()
        },
    }
    return [
        {
            "apiVersion": API_VERSION,
            "kind": "KafkaTopic",
            "metadata": {
                "name": resource_name(topic),
                "labels": {"strimzi.io/cluster": cluster.name, **_labels("topic")},
            },
            "spec": {
                "topicName": topic,
                "partitions": partitions,
                "replicas": replicas,
                "config": {
                    "min.insync.replicas": in_sync_replicas(replicas),
                    "max.message.bytes": max(
                        _KAFKA_MAX_MESSAGE_BYTES, largest.get(topic, 0) + _RECORD_MARGIN_BYTES
                    ),
                    **own.get(topic, {}),
                },
            },
        }
        for topic, (partitions, replicas) in topics.items()
    ]


def kafka_users(settings: Settings, cluster: StrimziCluster) -> list[dict[str, Any]]:
    """Return two ``KafkaUser``s with no more rights than they need.

    The service's own is named as ``kafka.sasl.username``. ``…-client`` is for submitting, reading
    results, replaying dead letters, cancelling, and for jobs.
    """
    sasl = settings.kafka.sasl
    if sasl is None or sasl.username is None:
        raise ValueError("a Strimzi cluster has SASL settings; strimzi_cluster checks it")
    routes = settings.routes.values()
    service = [acl for route in routes for acl in _service_acls(route)]
    client = [acl for route in routes for acl in _client_acls(route)]
    # Runners of jobs announce them there, and whoever lists jobs forgets old ones.
    client.append(
        _acl("topic", settings.jobs.topic, ["Read", "Write", "Describe", "DescribeConfigs"])
    )
    return [
        _user(sasl.username, cluster, service),
        _user(f"{sasl.username}-client", cluster, client),
    ]


def _service_acls(route: RouteSettings) -> list[dict[str, Any]]:
    outputs = ["Write", "Describe", "DescribeConfigs"]
    if route.delivery == "exactly_once":
        # With this right, brokers say which producers block a partition with open transactions.
        outputs = ["Read", *outputs]
    acls = [
        _acl("group", route.group, ["Read", "Describe"]),
        _acl("topic", route.requests_topic, ["Read", "Describe"]),
        _acl("topic", route.results_topic, outputs),
        _acl("topic", route.dead_letters_topic, outputs),
        *_reply_acls(route, outputs),
    ]
    if route.control_topic is not None:
        acls.append(_acl("topic", route.control_topic, ["Read", "Describe"]))
    if route.delivery == "exactly_once":
        # One transactional id for each partition of the requests topic; those of the previous
        # release have other names, and an upgrade fences producers that still publish under them.
        for prefix_of in (transactional_prefix_of, earlier_transactional_prefix_of):
            prefix = prefix_of(route.group, route.requests_topic)
            acls.append(_acl("transactionalId", prefix, ["Describe", "Write"], pattern="prefix"))
    return acls


def _client_acls(route: RouteSettings) -> list[dict[str, Any]]:
    acls = [
        _acl("group", route.group, ["Describe"]),
        # Read: a dead letter that was too large left its value out, and a replay fetches it there.
        _acl("topic", route.requests_topic, ["Read", "Write", "Describe", "DescribeConfigs"]),
        # DescribeConfigs: `headrace check` checks whether they take what is published there.
        _acl("topic", route.results_topic, ["Read", "Describe", "DescribeConfigs"]),
        _acl("topic", route.dead_letters_topic, ["Read", "Delete", "Describe", "DescribeConfigs"]),
        _acl(
            "topic",
            handled_topic_of(route.dead_letters_topic),
            ["Create", "Read", "Write", "Describe"],
        ),
        _acl("transactionalId", transactional_id(route.dead_letters_topic), ["Describe", "Write"]),
        # A job makes a topic of its own, and deletes it when its results are written.
        *_reply_acls(route, ["Create", "Delete", "Read", "Describe", "DescribeConfigs"]),
    ]
    if route.control_topic is not None:
        acls.append(_acl("topic", route.control_topic, ["Write", "Describe"]))
    return acls


def _reply_acls(route: RouteSettings, operations: list[str]) -> list[dict[str, Any]]:
    return [
        _acl(
            "topic",
            stem_of(each),
            operations,
            pattern="prefix" if is_prefix(each) else "literal",
        )
        for each in route.reply_topics
    ]


def _acl(
    kind: str, name: str, operations: list[str], *, pattern: str = "literal"
) -> dict[str, Any]:
    resource = {"type": kind, "name": name, "patternType": pattern}
    return {"resource": resource, "operations": [*operations]}


def _user(name: str, cluster: StrimziCluster, acls: list[dict[str, Any]]) -> dict[str, Any]:
    distinct: list[dict[str, Any]] = []
    for acl in acls:
        if acl not in distinct:
            distinct.append(acl)
    return {
        "apiVersion": API_VERSION,
        "kind": "KafkaUser",
        "metadata": {
            "name": name,
            "labels": {"strimzi.io/cluster": cluster.name, **_labels("user")},
        },
        "spec": {
            "authentication": {"type": "scram-sha-512"},
            "authorization": {"type": "simple", "acls": distinct},
        },
    }


def _broker_config(settings: Settings, replicas: int) -> dict[str, Any]:
    routes = settings.routes.values()
    sessions_ms = [route.membership.session_timeout_ms for route in routes]
    transactions_ms = [route.transactions.timeout_ms for route in routes]
    in_sync = in_sync_replicas(replicas)
    return {
        "auto.create.topics.enable": False,
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "offset.metadata.max.bytes": settings.kafka.offset_metadata_max_bytes,
        "group.min.session.timeout.ms": min(_KAFKA_MIN_SESSION_TIMEOUT_MS, *sessions_ms),
        "group.max.session.timeout.ms": max(_KAFKA_MAX_SESSION_TIMEOUT_MS, *sessions_ms),
        "transaction.max.timeout.ms": max(_KAFKA_MAX_TRANSACTION_TIMEOUT_MS, *transactions_ms),
    }


def _largest_values_bytes(settings: Settings) -> dict[str, int]:
    """Return the largest value that each topic must take; a dead letter is an unchanged request."""
    largest: dict[str, int] = {}
    for route in settings.routes.values():
        for topic, size_bytes in (
            (route.requests_topic, route.limits.max_request_bytes),
            (route.dead_letters_topic, route.limits.max_request_bytes),
            (route.results_topic, route.limits.max_result_bytes),
            *((each, route.limits.max_result_bytes) for each in route.named_reply_topics),
        ):
            largest[topic] = max(size_bytes, largest.get(topic, 0))
    return largest


def _pool(
    cluster: StrimziCluster,
    name: str,
    replicas: int,
    roles: list[str],
    size: KafkaNodesSettings,
) -> dict[str, Any]:
    volume: dict[str, Any] = {
        "id": 0,
        "type": "persistent-claim",
        "size": gib_quantity(size.storage_gib),
        "kraftMetadata": "shared",
        # Deleting the resource must not delete the records.
        "deleteClaim": False,
    }
    if size.storage_class is not None:
        volume["class"] = size.storage_class
    return {
        "apiVersion": API_VERSION,
        "kind": "KafkaNodePool",
        "metadata": {
            "name": name,
            "labels": {"strimzi.io/cluster": cluster.name, **_labels("kafka")},
        },
        "spec": {
            "replicas": replicas,
            "roles": roles,
            "storage": {"type": "jbod", "volumes": [volume]},
            "resources": resources(size.cpus, size.memory_gib, limits_cpus=False),
            # Here, not in the Kafka resource: a pool that has any template of its own, as overlays
            # give it, takes nothing from the cluster's.
            "template": _pod_template(cluster, name, replicas),
        },
    }


def _pod_template(cluster: StrimziCluster, pool: str, replicas: int) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER_ID,
            "fsGroup": _USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
    }
    if replicas > 1:
        # Two nodes of a pool never share a machine; a broker and a controller may.
        peers = {"strimzi.io/cluster": cluster.name, "strimzi.io/pool-name": pool}
        apart = {
            "topologyKey": "kubernetes.io/hostname",
            "labelSelector": {"matchLabels": peers},
        }
        rules = {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}
        pod["affinity"] = {"podAntiAffinity": rules}
    return {
        "pod": pod,
        "kafkaContainer": {
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }
        },
    }


def _labels(component: str) -> dict[str, str]:
    return {"app.kubernetes.io/part-of": PART_OF, "app.kubernetes.io/component": component}


def _literal(name: str) -> str:
    """Return a regular expression that matches only ``name``; of a legal name only dots matter."""
    return name.replace(".", r"\.")
