"""Tracing is off unless the settings ask for it, and then costs no import."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from handoff.tracing.opening import (
    VARIABLE,
    ReplicaTracing,
    find_tracing,
    is_on,
    with_tracing,
)
from schemas.settings.tracing import TracingSettings

ROOT = Path(__file__).parents[4]
ON = TracingSettings(enabled=True)
TRACING = ReplicaTracing(settings=ON, service="headrace-model-m", model="m", operation="infer")


def test_without_a_word_there_is_none() -> None:
    assert find_tracing({}) is None
    assert not is_on(TracingSettings(), {})


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_SDK_DISABLED": "true"},
        {"OTEL_SDK_DISABLED": "TRUE"},
        {"OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_opentelemetrys_own_variables_turn_it_off(variables: dict[str, str]) -> None:
    assert is_on(ON, {})
    assert not is_on(ON, variables)


def test_replicas_find_it_in_their_environment() -> None:
    options = {
        "num_replicas": 2,
        "ray_actor_options": {"num_cpus": 1, "runtime_env": {"env_vars": {"HEADRACE_CACHE": "/c"}}},
    }
    traced = with_tracing(options, TRACING)
    variables = traced["ray_actor_options"]["runtime_env"]["env_vars"]

    assert variables["HEADRACE_CACHE"] == "/c"
    assert find_tracing({VARIABLE: variables[VARIABLE]}) == TRACING
    assert with_tracing(options, None) == options


@pytest.mark.parametrize(
    "endpoint", ["collector:4318", "http://user:secret@collector:4318", "http://", "ftp://x"]
)
def test_an_endpoint_is_a_url_without_a_password(endpoint: str) -> None:
    with pytest.raises(ValidationError, match="endpoint"):
        TracingSettings(enabled=True, endpoint=endpoint)


def test_without_tracing_nothing_of_opentelemetry_is_imported() -> None:
    program = """
import sys
import consumer.loop.at_least_once, consumer.loop.consumer_loop, consumer.replica.build
import handoff.model_handle, handoff.tracing.opening
import serve_models.batching.engine, serve_models.generation.engine, serve_models.pipeline.engine
import headrace_client
from handoff.tracing.opening import find_tracing
from headrace_client.calls.tracing import trace_headers
assert find_tracing() is None and trace_headers() == ()
print([each for each in sys.modules if each.startswith("opentelemetry")])
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'client'}", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "[]"
