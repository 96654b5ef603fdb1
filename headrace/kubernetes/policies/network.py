"""NetworkPolicies: whom Ray's pods talk to.

Everyone who reaches Ray's ports can run code in the cluster. So only the cluster's own pods,
Prometheus (metrics only) and KubeRay, which deploys through the head's dashboard, reach them.
"""

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from headrace.kubernetes.console import console_policy
from headrace.kubernetes.names import PART_OF, StrimziCluster
from headrace.kubernetes.policies.selectors import HEAD_POD, RAY_PODS
from schemas.settings.file import KafkaSettings, Settings
from schemas.settings.kubernetes import RedisSettings
from schemas.settings.models import GeneratorSettings, weight_sources
from schemas.settings.secrets import clusters_of
from schemas.settings.weights import WeightsSettings

DNS_PORT = 53
OPENSHIFT_DNS_PORT = 5353
"""OpenShift's service has port 53, its pods this one; policies see what the pods have."""
LINK_LOCAL = "169.254.0.0/16"
"""Where NodeLocal DNSCache and some clouds' resolvers listen on each node."""
HTTP_PORT = 80
HTTPS_PORT = 443
API_PORTS = (443, 6443)
DASHBOARD_PORT = 8265
PROXY_PORT = 8000
METRICS_PORT = 8080
_COLLECTOR_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_REMOTE = ("hub:", "s3://", "gs://", "oci:", "https://")


def network_policies(settings: Settings, cluster: StrimziCluster | None) -> list[dict[str, Any]]:
    """Return the policies of all pods, and of the head alone: its autoscaler asks Kubernetes' API.

    The API's address is not a pod's, so that the head's policy can name only ports.
    """
    ingress = [
        {"from": [{"podSelector": RAY_PODS}]},
        # KubeRay: the dashboard's Serve API, and the proxies' health. Its chart and its
        # kustomization name the operator differently but give it the same component label.
        {
            "from": [_anywhere({"app.kubernetes.io/component": "kuberay-operator"})],
            "ports": _tcp(DASHBOARD_PORT, PROXY_PORT),
        },
        {
            "from": [_anywhere({"app.kubernetes.io/name": "prometheus"})],
            "ports": _tcp(METRICS_PORT),
        },
    ]
    ray = {
        "podSelector": RAY_PODS,
        "policyTypes": ["Ingress", "Egress"],
        "ingress": ingress,
        "egress": [
            {"to": [{"podSelector": RAY_PODS}]},
            *dns_egress(settings.kubernetes.network.dns_cidrs),
            *_needed_egress(settings, cluster),
        ],
    }
    autoscaler = {
        "podSelector": HEAD_POD,
        "policyTypes": ["Egress"],
        "egress": [{"ports": _tcp(*API_PORTS)}],
    }
    console = [_policy("headrace-console", each) for each in console_policy(settings.console)]
    return [_policy("headrace-ray", ray), _policy("headrace-autoscaler", autoscaler), *console]


def dns_egress(more_cidrs: Iterable[str]) -> list[dict[str, Any]]:
    """Return the rules for DNS: kube-dns, OpenShift's, NodeLocal DNSCache, and what is named."""
    blocks = [{"ipBlock": {"cidr": each}} for each in (LINK_LOCAL, *more_cidrs)]
    return [
        {"to": [_namespace("kube-system")], "ports": _both(DNS_PORT)},
        {"to": [_namespace("openshift-dns")], "ports": _both(DNS_PORT, OPENSHIFT_DNS_PORT)},
        {"to": blocks, "ports": _both(DNS_PORT)},
    ]


def _needed_egress(settings: Settings, cluster: StrimziCluster | None) -> list[dict[str, Any]]:
    """Return the rules for brokers, hubs, object stores, Redis, and what the settings name."""
    rules: list[dict[str, Any]]
    if cluster is not None:
        brokers = {"matchLabels": {"strimzi.io/cluster": cluster.name, "strimzi.io/kind": "Kafka"}}
        rules = [{"to": [{"podSelector": brokers}], "ports": _tcp(cluster.port)}]
    else:
        # Brokers elsewhere announce addresses that nobody knows here.
        rules = [{"ports": _tcp(*_ports_of(settings.kafka))}]
    if settings.results_kafka is not None:
        rules.append({"ports": _tcp(*_ports_of(settings.results_kafka))})
    rules += [{"ports": _tcp(each)} for each in _token_ports(settings)]
    if _uses_https(settings):
        rules.append({"ports": _tcp(HTTPS_PORT)})
    gcs = settings.kubernetes.gcs
    if isinstance(gcs, RedisSettings):
        rules.append({"ports": _tcp(gcs.port)})
    collector_port = _collector_port(settings)
    if collector_port is not None:
        rules.append({"ports": _tcp(collector_port)})
    rules += [
        {"to": [{"ipBlock": {"cidr": each.cidr}}], "ports": _tcp(*each.ports)}
        for each in settings.kubernetes.network.egress
    ]
    return rules


def _collector_port(settings: Settings) -> int | None:
    """Return the port of what takes the traces; ``None`` where the manifests do not say."""
    if not settings.tracing.enabled:
        return None
    variables = settings.kubernetes.environment
    named = [settings.tracing.endpoint, *map(variables.get, _COLLECTOR_VARIABLES)]
    endpoint = next((urlsplit(each) for each in named if isinstance(each, str)), None)
    if endpoint is None:
        return None
    return endpoint.port or (HTTPS_PORT if endpoint.scheme == "https" else HTTP_PORT)


def _ports_of(kafka: KafkaSettings) -> list[int]:
    return sorted({int(each.rpartition(":")[2]) for each in kafka.bootstrap.split(",")})


def _token_ports(settings: Settings) -> list[int]:
    """Return where tokens come from; token providers of the user's own mostly ask by https."""
    ports = set()
    for kafka in clusters_of(settings).values():
        if kafka.sasl is not None and kafka.sasl.oauth is not None:
            ports.add(urlsplit(kafka.sasl.oauth.token_url or "").port or HTTPS_PORT)
    return sorted(ports)


def _uses_https(settings: Settings) -> bool:
    sources = [
        each.source
        for model in settings.models.values()
        for each in weight_sources(model)
        if _is_pulled(each.source, settings.weights)
    ]
    for route in settings.routes.values():
        if route.claim_check is not None:
            sources += [route.claim_check.store, *route.claim_check.request_prefixes]
    fetches_media = any(
        isinstance(model, GeneratorSettings) and model.engine_args.get("allowed_media_domains")
        for model in settings.models.values()
    )
    return bool(fetches_media) or any(source.startswith(_REMOTE) for source in sources)


def _is_pulled(source: str, weights: WeightsSettings) -> bool:
    # The kubelet, whom no policy concerns, gets images that are volumes.
    by_kubelet = weights.oci_as_volumes and source.startswith("oci:")
    return not (by_kubelet or weights.volume.is_read_only)


def _policy(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": PART_OF}},
        "spec": spec,
    }


def _anywhere(labels: dict[str, str]) -> dict[str, Any]:
    return {"namespaceSelector": {}, "podSelector": {"matchLabels": labels}}


def _namespace(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def _tcp(*ports: int) -> list[dict[str, Any]]:
    return [{"protocol": "TCP", "port": port} for port in ports]


def _both(*ports: int) -> list[dict[str, Any]]:
    return [{"protocol": name, "port": port} for port in ports for name in ("UDP", "TCP")]
