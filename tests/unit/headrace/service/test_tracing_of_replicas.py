"""What replicas are told of tracing: nothing without it, and no more than they need."""

from typing import Any

from handoff.tracing.opening import VARIABLE, find_tracing
from headrace.service.applications import specs_of
from headrace.settings.file import parse_settings
from schemas.settings.file import Settings
from tests.unit.headrace.service.deployed import deployed

SETTINGS = """\
models:
  minilm: {kind: embedder, source: "path:/nowhere"}
routes:
  search: {model: minilm, requests_topic: i, results_topic: o, dead_letters_topic: d, group: g}
"""
TRACING = "tracing: {enabled: true, endpoint: 'http://collector:4318', sample_ratio: 0.2}\n"


def settings(more: str = "") -> Settings:
    return parse_settings((SETTINGS + more).encode())


def variables(settings: Settings, deployment: str) -> dict[str, Any]:
    options = deployed(settings)[deployment].ray_actor_options
    found: dict[str, Any] = (options.get("runtime_env") or {}).get("env_vars", {})
    return found


def test_without_tracing_nothing_changes() -> None:
    for spec in specs_of(settings()):
        assert "tracing" not in spec.built
    assert specs_of(settings()) == specs_of(settings("tracing: {sample_ratio: 0.2}\n"))
    for name in ("model-minilm", "consumer-search"):
        assert VARIABLE not in variables(settings(), name)


def test_replicas_are_told_whose_spans_they_send_and_where() -> None:
    on = settings(TRACING)
    of_model = find_tracing(variables(on, "model-minilm"))
    of_consumer = find_tracing(variables(on, "consumer-search"))

    assert of_model is not None
    assert of_consumer is not None
    assert (of_model.service, of_model.model) == ("headrace-model-minilm", "minilm")
    assert of_model.operation == "embeddings"
    assert (of_consumer.service, of_consumer.model) == ("headrace-route-search", "minilm")
    assert of_consumer.settings == on.tracing
    assert of_model.settings.endpoint == "http://collector:4318"


def test_another_ratio_restarts_consumers_and_no_model() -> None:
    on, other = settings(TRACING), settings(TRACING.replace("0.2", "0.5"))
    changed = {
        now.name
        for before, now in zip(specs_of(on), specs_of(other), strict=True)
        if before.version != now.version
    }

    assert changed == {"headrace-route-search"}
