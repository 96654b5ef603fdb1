"""Which addresses the NetworkPolicies let Ray's pods reach, and who finds their metrics."""

import ipaddress
import json
from typing import Any

import pytest

from tests.unit.headrace.kubernetes.rendering import (
    OVERLAYS,
    of_kind,
    ray_pods,
    rendered,
    source_of,
    source_with,
)

KUBE_DNS = {"kubernetes.io/metadata.name": "kube-system"}
OPENSHIFT_DNS = {"kubernetes.io/metadata.name": "openshift-dns"}
OTHER = {"kubernetes.io/metadata.name": "other"}
OUTSIDE = "203.0.113.5"


def lets_out(
    documents: list[dict[str, Any]],
    port: int,
    *,
    address: str = "10.0.0.7",
    namespace: dict[str, str] | None = None,
    protocol: str = "TCP",
    of: str = "headrace-ray",
) -> bool:
    """Whether a policy allows a connection; ``namespace`` is the labels of the peer pod's, if it
    is a pod, which has no labels of its own here."""
    [policy] = [
        each["spec"]
        for each in of_kind(documents, "NetworkPolicy")
        if each["metadata"]["name"] == of
    ]
    return any(
        _takes_port(rule, port, protocol) and _takes_peer(rule, address, namespace)
        for rule in policy["egress"]
    )


def _takes_port(rule: dict[str, Any], port: int, protocol: str) -> bool:
    ports = rule.get("ports")
    return ports is None or {"protocol": protocol, "port": port} in ports


def _takes_peer(rule: dict[str, Any], address: str, namespace: dict[str, str] | None) -> bool:
    if "to" not in rule:
        return True
    for peer in rule["to"]:
        if "ipBlock" in peer:
            block = ipaddress.ip_network(peer["ipBlock"]["cidr"])
            if namespace is None and ipaddress.ip_address(address) in block:
                return True
        elif "podSelector" not in peer and namespace is not None:
            wanted = peer["namespaceSelector"].get("matchLabels", {})
            if wanted.items() <= namespace.items():
                return True
    return False


@pytest.fixture(params=OVERLAYS)
def documents(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return rendered(source_with(request.param))


@pytest.mark.parametrize("protocol", ["UDP", "TCP"])
def test_pods_find_names_whichever_dns_the_cluster_has(
    documents: list[dict[str, Any]], protocol: str
) -> None:
    def asks(port: int, **peer: Any) -> bool:
        return lets_out(documents, port, protocol=protocol, **peer)

    assert asks(53, namespace=KUBE_DNS)
    # NodeLocal DNSCache is no pod that a policy sees, but an address of the node.
    assert asks(53, address="169.254.20.10")
    # OpenShift's DNS pods listen on another port than their service.
    assert asks(5353, namespace=OPENSHIFT_DNS)
    assert not asks(53, namespace=OTHER)
    assert not asks(53, address=OUTSIDE)
    assert not asks(80, address="169.254.169.254")


def test_more_dns_servers_are_let_through_where_they_are_named() -> None:
    documents = rendered(source_with("small", network={"dns_cidrs": ["10.96.0.10/32"]}))

    assert lets_out(documents, 53, address="10.96.0.10", protocol="UDP")
    assert not lets_out(documents, 53, address="10.96.0.11", protocol="UDP")


def test_https_is_for_weights_from_elsewhere_only() -> None:
    small, production = rendered(source_with("small")), rendered(source_with("production"))

    # Its only model is in the image; the other one's chat model is not.
    assert not lets_out(small, 443, address=OUTSIDE)
    assert lets_out(production, 443, address=OUTSIDE)
    assert lets_out(small, 443, address=OUTSIDE, of="headrace-autoscaler")


@pytest.mark.parametrize(
    ("weights", "is_let_out"),
    [
        ({}, True),
        ({"oci_as_volumes": True}, False),
        ({"volume": {"kind": "claim"}}, True),
        ({"volume": {"kind": "claim", "access_mode": "ReadOnlyMany"}}, False),
    ],
)
def test_https_is_for_pods_that_pull_their_weights(
    weights: dict[str, Any], is_let_out: bool
) -> None:
    values = dict(source_with("small").data)
    model = {**values["models"]["minilm"], "source": "oci:registry.example.com/minilm:1"}
    source = source_of({**values, "models": {"minilm": model}, "weights": weights})

    assert lets_out(rendered(source), 443, address=OUTSIDE) is is_let_out


def test_brokers_elsewhere_a_redis_and_what_is_named_are_reached() -> None:
    source = source_with(
        "small",
        gcs={"backend": "redis", "address": "redis.example.com:6380"},
        network={"egress": [{"cidr": "10.1.0.0/16", "ports": [9000]}]},
    )
    documents = rendered(source)

    assert lets_out(documents, 6380, address=OUTSIDE)
    assert lets_out(documents, 9000, address="10.1.2.3")
    assert not lets_out(documents, 9000, address=OUTSIDE)
    assert not lets_out(documents, 9093, address=OUTSIDE)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_prometheus_finds_pods_and_rules_by_its_release(overlay: str) -> None:
    labels = {"release": "monitoring", "team": "search"}
    documents = rendered(source_with(overlay, monitoring={"labels": labels}))

    found = [*of_kind(documents, "PodMonitor"), *of_kind(documents, "PrometheusRule")]
    assert len(found) == 3
    for each in found:
        assert labels.items() <= each["metadata"]["labels"].items()
    for template in ray_pods(documents).values():
        assert "release" not in template["metadata"]["labels"]


def test_without_a_prometheus_operator_nothing_of_its_kind_is_rendered() -> None:
    documents = rendered(source_with("small", monitoring={"enabled": False}))

    assert not {each["kind"] for each in documents} & {"PodMonitor", "PrometheusRule"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_grafana_finds_the_dashboard_by_its_label(overlay: str) -> None:
    [found] = [
        each
        for each in of_kind(rendered(source_with(overlay)), "ConfigMap")
        if each["metadata"]["name"] == "headrace-dashboard"
    ]

    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(found["data"]["headrace.json"])["title"] == "Headrace"
