"""Decisions on their way from Serve's controller to `headrace status`; Ray is faked."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from pydantic import SecretStr
from ray import serve
from ray.serve.exceptions import RayServeException

from consumer.autoscaling import kv
from consumer.autoscaling.lag_reader import GroupLagSource
from consumer.autoscaling.measures import RouteMeasures
from consumer.autoscaling.task import ScalingTask
from consumer.replica.reports import RouteStatus
from headrace.cli import main
from headrace.cli import status as status_command
from headrace.errors import ServiceError
from headrace.service.applications import model_application_name
from headrace.status import client as status_client
from headrace.status.partition_lag import PartitionLag
from schemas.settings.autoscaling import AutoscalingSettings
from schemas.settings.file import KafkaSettings, SaslSettings
from schemas.settings.secrets import with_references

SETTINGS = str(Path(__file__).parents[3] / "headrace.yaml")
TEXT = "1 -> 4 replicas (1 run); clamped by max_replicas"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[bytes, bytes], bytes]:
    """Ray's key-value store."""
    kept: dict[tuple[bytes, bytes], bytes] = {}

    def put(key: bytes, value: bytes, *, overwrite: bool, namespace: bytes) -> None:
        assert overwrite
        kept[namespace, key] = value

    def keys(prefix: bytes, *, namespace: bytes) -> list[bytes]:
        return [key for space, key in kept if space == namespace and key.startswith(prefix)]

    monkeypatch.setattr(kv, "_internal_kv_put", put)

    def delete(key: bytes, *, namespace: bytes) -> None:
        del kept[namespace, key]

    monkeypatch.setattr(kv, "_internal_kv_list", keys)
    monkeypatch.setattr(kv, "_internal_kv_del", delete)
    monkeypatch.setattr(
        kv, "_internal_kv_get", lambda key, *, namespace: kept.get((namespace, key))
    )
    return kept


def running(monkeypatch: pytest.MonkeyPatch, *deployments: str) -> None:
    """Let Serve say that these run."""
    application = SimpleNamespace(deployments=dict.fromkeys(deployments))
    status = SimpleNamespace(applications={model_application_name("m"): application})
    monkeypatch.setattr(serve, "status", lambda: status)


def test_the_latest_decision_of_each_deployment_is_told(store: Any) -> None:
    store[b"of another", b"model-x"] = b"{}"
    kv.report_decision("model-b", b'{"target": 1}')
    kv.report_decision("model-a", b'{"target": 2}')
    kv.report_decision("model-b", b'{"target": 3}')

    assert kv.reported_decisions() == {"model-a": {"target": 2}, "model-b": {"target": 3}}


def test_what_a_route_has_measured_is_told(store: Any) -> None:
    measures = RouteMeasures(tokens_per_record=250.5, runnable_records=3, reads_on=False)
    kv.report_measures("chat", measures)

    assert kv.reported_measures("chat") == measures
    assert kv.reported_measures("texts") == RouteMeasures()
    assert kv.reported_decisions() == {}


def test_a_task_reaches_its_policy_without_the_password_and_goes_with_its_deployment(
    store: Any,
) -> None:
    task = ScalingTask(
        settings=AutoscalingSettings(max_replicas=4, drain_target_s=9.0),
        kafka=KafkaSettings(sasl=SaslSettings(username="me", password=SecretStr("hush"))),
        sources=(GroupLagSource("g", "t", from_latest=True, route="r", ordering="key"),),
        is_consumer=False,
    )
    kv.assign_tasks({"model-a": task, "model-b": task})
    # The policy's process has the variable in its environment.
    as_stored = replace(task, kafka=with_references(task.kafka))
    assert kv.assigned_task("model-a") == as_stored
    assert b"HEADRACE_KAFKA__SASL__PASSWORD" in store[b"headrace-scaling-tasks", b"model-a"]
    assert not [each for each in store.values() if b"hush" in each]

    kv.assign_tasks({"model-b": task})
    assert kv.assigned_task("model-a") is None
    assert kv.assigned_task("model-b") == as_stored


def test_only_deployments_that_run_are_told_of(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kv.report_decision("model-m", orjson.dumps({"text": TEXT, "target": 4}))
    kv.report_decision("model-of-an-earlier-service", orjson.dumps({"text": "old"}))
    running(monkeypatch, "model-m", "status")

    assert status_client.read_decisions() == {"model-m": TEXT}


def test_a_service_that_is_not_there_is_said(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "status", lambda: SimpleNamespace(applications={}))
    with pytest.raises(ServiceError, match="no service runs"):
        status_client.read_decisions()

    def fail() -> None:
        raise RayServeException("no controller")

    monkeypatch.setattr(serve, "status", fail)
    with pytest.raises(ServiceError, match="no controller"):
        status_client.read_decisions()


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_status_shows_each_decision(
    arguments: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    status = RouteStatus(route="embeddings", working_records_per_s=10.0)

    async def lags(settings: Any) -> dict[str, list[PartitionLag]]:
        return {name: [PartitionLag(0, 0, 70, 0, 70)] for name in settings.routes}

    answer = status_command._Answer(
        statuses={"embeddings": status},
        decisions={"model-m": TEXT},
        runs_on={"m": ["cpu", "bfloat16"]},
    )
    monkeypatch.setattr(status_command, "_ask_service", lambda: answer)
    monkeypatch.setattr(status_command, "_read_lags", lags)
    with pytest.raises(SystemExit) as ended:
        main(["status", "-c", SETTINGS, *arguments])
    printed = capsys.readouterr()

    assert ended.value.code in (None, 0)
    if not arguments:
        assert f"model-m: {TEXT}" in printed.err
        assert "m runs on cpu, bfloat16" in printed.err
        return
    report = json.loads(printed.out)
    assert report["scaling"] == {"model-m": TEXT}
    assert report["runs_on"] == {"m": ["cpu", "bfloat16"]}
    assert report["routes"]["embeddings"]["lag_s"] == 7.0


def test_a_deployment_that_does_not_scale_any_more_has_no_decision(
    store: dict[tuple[bytes, bytes], bytes],
) -> None:
    kv.report_decision("model-m", b'{"target": 1}')

    kv.assign_tasks({})

    assert kv.reported_decisions() == {}
    assert not store
