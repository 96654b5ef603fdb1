"""Environment variables of Ray's pods, and the way to what takes the traces."""

from typing import Any

import pytest
import yaml

from headrace.kubernetes.policies.network import network_policies
from headrace.settings.problems import SettingsError
from schemas.settings.tracing import TracingSettings
from tests.unit.headrace.kubernetes.rendering import K8S, ray_pods, rendered, source_of, source_with
from tests.unit.headrace.kubernetes.test_kubernetes_network import lets_out

VARIABLES = {
    "OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector.example.com:4443",
    "OTEL_EXPORTER_OTLP_HEADERS": {"secret": "collector", "key": "headers"},
}


def test_each_pod_has_them_and_secrets_come_by_reference() -> None:
    pods = ray_pods(rendered(source_with("small", environment=VARIABLES)))

    assert len(pods) > 1
    for pod in pods.values():
        found = {each["name"]: each for each in pod["spec"]["containers"][0]["env"]}
        assert found["OTEL_EXPORTER_OTLP_ENDPOINT"]["value"].endswith(":4443")
        reference = found["OTEL_EXPORTER_OTLP_HEADERS"]["valueFrom"]["secretKeyRef"]
        assert reference == {"name": "collector", "key": "headers"}


@pytest.mark.parametrize("name", ["HOME", "HEADRACE_CONFIG", "HEADRACE_KAFKA__BOOTSTRAP"])
def test_those_of_headrace_are_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=rf"environment\.{name}"):
        source_with("small", environment={name: "x"})


@pytest.mark.parametrize(
    ("name", "value"), [("HF_TOKEN", "x"), ("DB_PWD", "x"), ("DB_URL", "postgres://a:x@host/d")]
)
def test_secrets_in_plain_text_are_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=rf"environment\.{name}: the manifests would store"):
        source_with("small", environment={name: value})
    source_with("small", environment={name: {"secret": "s", "key": "k"}})


@pytest.mark.parametrize("section", ["kafka", "results_kafka"])
def test_the_password_of_a_key_may_come_from_the_secret(section: str) -> None:
    values = yaml.safe_load((K8S / "overlays" / "small" / "headrace.yaml").read_text())
    tls = {"cert_file": "/etc/tls/tls.crt", "key_file": "/etc/tls/tls.key"}
    values["kafka"] = {"bootstrap": "kafka.example:9093"}
    values[section] = {"bootstrap": "kafka.example:9093", "tls": tls}
    name = f"HEADRACE_{section.upper()}__TLS__KEY_PASSWORD"
    secret = "headrace-kafka" if section == "kafka" else "headrace-results-kafka"
    for pod in ray_pods(rendered(source_of(values))).values():
        found = {each["name"]: each for each in pod["spec"]["containers"][0]["env"]}
        reference = {"name": secret, "key": "key-password", "optional": True}
        assert found[name]["valueFrom"]["secretKeyRef"] == reference
    tls["key_password_file"] = "/etc/tls/password"
    for pod in ray_pods(rendered(source_of(values))).values():
        assert name not in str(pod)


@pytest.mark.parametrize(
    ("tracing", "environment", "port"),
    [
        ({"enabled": True, "endpoint": "http://collector:4318"}, {}, 4318),
        ({"enabled": True, "endpoint": "https://collector/otlp"}, {}, 443),
        ({"enabled": True}, VARIABLES, 4443),
    ],
)
def test_traces_are_let_out(tracing: Any, environment: Any, port: int) -> None:
    settings = source_with("small", environment=environment).settings

    def policies(tracing: TracingSettings) -> list[dict[str, Any]]:
        return network_policies(settings.model_copy(update={"tracing": tracing}), None)

    assert lets_out(policies(TracingSettings.model_validate(tracing)), port)
    assert not lets_out(policies(TracingSettings()), port)
    off = TracingSettings.model_validate({**tracing, "enabled": False})
    assert not lets_out(policies(off), port)
