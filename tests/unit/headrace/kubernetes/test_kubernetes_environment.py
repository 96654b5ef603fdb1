"""Environment variables of Ray's pods, and the way to what takes the traces."""

from typing import Any

import pytest

from headrace.settings.problems import SettingsError
from tests.unit.headrace.kubernetes.rendering import ray_pods, rendered, source_of, source_with
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
    ("tracing", "environment", "port"),
    [
        ({"enabled": True, "endpoint": "http://collector:4318"}, {}, 4318),
        ({"enabled": True, "endpoint": "https://collector/otlp"}, {}, 443),
        ({"enabled": True}, VARIABLES, 4443),
    ],
)
def test_traces_are_let_out(tracing: Any, environment: Any, port: int) -> None:
    def policies(**sections: Any) -> list[dict[str, Any]]:
        source = source_with("small", environment=environment)
        values = source.settings.model_dump(mode="json", exclude_unset=True)
        return rendered(source_of({**values, **sections}))

    assert lets_out(policies(tracing=tracing), port)
    assert not lets_out(policies(), port)
    assert not lets_out(policies(tracing={**tracing, "enabled": False}), port)
