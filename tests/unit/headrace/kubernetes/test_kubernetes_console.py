"""The console in the manifests: closed by default, and reached by those who are named."""

from pathlib import Path
from typing import Any

import yaml

from headrace.kubernetes.console import CLIENT_LABEL
from tests.unit.headrace.kubernetes.rendering import K8S, of_kind, ray_pods, rendered, source_of

PRODUCTION = yaml.safe_load((K8S / "overlays" / "production" / "headrace.yaml").read_text())


def documents_with(**console: Any) -> list[dict[str, Any]]:
    return rendered(source_of({**PRODUCTION, "console": console}))


def policies(documents: list[dict[str, Any]]) -> dict[str, Any]:
    return {each["metadata"]["name"]: each for each in of_kind(documents, "NetworkPolicy")}


def test_by_default_nothing_but_a_forwarded_port_reaches_it() -> None:
    documents = rendered(source_of(PRODUCTION))
    pods = ray_pods(documents)
    [head] = pods["head"]["spec"]["containers"]
    assert {"name": "console", "containerPort": 8270} in head["ports"]
    assert "headrace-console" not in policies(documents)
    services = {each["metadata"]["name"] for each in of_kind(documents, "Service")}
    assert "headrace-console" not in services
    assert "HEADRACE_CONSOLE" not in str(documents)


def test_where_it_is_bound_to_others_it_has_a_service_and_clients_by_label() -> None:
    documents = documents_with(
        host="0.0.0.0", port=9000, read_token_env="READ_IT", act_token_env="ACT_IT"
    )
    [service] = [
        each
        for each in of_kind(documents, "Service")
        if each["metadata"]["name"] == "headrace-console"
    ]
    pods = ray_pods(documents)
    selected = service["spec"]["selector"].items()
    assert selected <= pods["head"]["metadata"]["labels"].items()
    for name, pod in pods.items():
        assert name == "head" or not selected <= pod["metadata"]["labels"].items()
    assert service["spec"]["ports"] == [{"name": "console", "port": 9000, "targetPort": "console"}]
    [rule] = policies(documents)["headrace-console"]["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 9000}]
    assert rule["from"][0]["podSelector"] == {"matchLabels": {CLIENT_LABEL: "true"}}


def test_tokens_come_from_a_secret_and_to_the_head_alone() -> None:
    documents = documents_with(
        host="0.0.0.0",
        read_token_env="READ_IT",
        act_token_file="/etc/headrace/console/act",
        tls={"cert_file": "/etc/headrace/tls/tls.crt", "key_file": "/etc/headrace/tls/tls.key"},
    )
    pods = ray_pods(documents)
    [head] = pods["head"]["spec"]["containers"]
    [variable] = [each for each in head["env"] if each["name"] == "READ_IT"]
    assert variable["valueFrom"]["secretKeyRef"] == {
        "name": "headrace-console",
        "key": "read-token",
    }
    volumes = {each["name"]: each for each in pods["head"]["spec"]["volumes"]}
    mounts = {each["mountPath"]: volumes[each["name"]] for each in head["volumeMounts"]}
    assert mounts["/etc/headrace/console"]["secret"] == {
        "secretName": "headrace-console",
        "items": [{"key": "act-token", "path": "act"}],
    }
    assert mounts["/etc/headrace/tls"]["secret"]["secretName"] == "headrace-console-tls"
    for name, pod in pods.items():
        if name != "head":
            assert "READ_IT" not in str(pod)
            assert "headrace-console" not in str(pod)


def test_without_a_console_the_manifests_know_none() -> None:
    documents = documents_with(enabled=False)
    assert "headrace-console" not in str(documents)
    [head] = ray_pods(documents)["head"]["spec"]["containers"]
    assert "console" not in {each["name"] for each in head["ports"]}


def test_the_docs_name_the_secret_and_the_label() -> None:
    page = (Path(__file__).parents[4] / "docs" / "console.md").read_text()
    assert CLIENT_LABEL in page
    assert "headrace-console" in page
