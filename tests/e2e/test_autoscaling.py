"""Replicas follow the topic: a real broker, a real Ray Serve, logical CPUs overcommitted."""

import asyncio
import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
from aiokafka.structs import ConsumerRecord
from ray import serve
from ray.serve._private.common import ReplicaState

from headrace.service.service import LocalService
from schemas.settings.autoscaling import AutoscalingSettings, ConsumerAutoscalingSettings
from schemas.settings.console import ConsoleSettings
from schemas.settings.file import KafkaSettings, Settings
from schemas.settings.models import CustomModelSettings
from tests.brokers import TestBroker
from tests.e2e.running_service import PATIENCE_S, Service, make_route

pytestmark = [pytest.mark.kafka, pytest.mark.serve]

URL = "/v1/embeddings"
PERIOD_S = 1.0
RECORDS = 6_000
RECORD_MS = 400
"""Work for four of each, however quickly they start."""


@pytest.fixture(scope="module")
def service(
    kafka_broker: TestBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
    data_dir = tmp_path_factory.mktemp("autoscaling")
    count_file = data_dir / "counts"
    route = make_route(f"e2e-{uuid.uuid4().hex[:8]}", "scaled", "sleepy")
    settings = Settings(
        kafka=KafkaSettings(bootstrap=kafka_broker.bootstrap),
        console=ConsoleSettings(enabled=False),
        models={
            "sleepy": CustomModelSettings(
                kind="custom",
                import_path="tests.file_counting_model:FileCountingModel",
                # 32 at a time, 400 ms each: 80 records/s a replica.
                options={"path": str(count_file), "window_records": 32},
                urls=(URL,),
                num_cpus=0.1,
                # Otherwise it would start with none, and the test would not see the last one stop.
                replicas=1,
                autoscaling=AutoscalingSettings(
                    min_replicas=0,
                    max_replicas=4,
                    drain_target_s=15.0,
                    period_s=PERIOD_S,
                    downscale_delay_s=5.0,
                    expected_cold_start_s=3.0,
                ),
            )
        },
        routes={
            "scaled": route.model_copy(
                update={
                    "autoscaling": ConsumerAutoscalingSettings(
                        max_replicas=8,
                        drain_target_s=15.0,
                        period_s=PERIOD_S,
                        downscale_delay_s=5.0,
                        expected_records_per_s=100.0,
                        expected_cold_start_s=3.0,
                    )
                }
            )
        },
    )
    with LocalService(settings, data_dir=data_dir, use_ray="local") as running:
        yield Service(running.settings, count_file)
    os.environ.pop("PYTHONPATH", None)


def replicas() -> dict[str, int]:
    """Return how many replicas of each deployment run or start."""
    return {
        name: sum(
            each.replica_states.get(state, 0)
            for state in (ReplicaState.STARTING, ReplicaState.RUNNING)
        )
        for application in serve.status().applications.values()
        for name, each in application.deployments.items()
    }


async def wait_until(condition: Callable[[], bool], what: str) -> float:
    """Wait until the condition holds; return when, in epoch seconds."""
    began_s = time.monotonic()
    while not condition():
        assert time.monotonic() - began_s < PATIENCE_S, f"{what}: {replicas()}"
        await asyncio.sleep(0.1)
    return time.time()


async def published_at_s(service: Service, custom_id: str) -> float:
    """Return when a request was published, in epoch seconds."""
    topic = service.route("scaled").requests_topic

    def found(read: list[ConsumerRecord]) -> list[ConsumerRecord]:
        return [each for each in read if orjson.loads(each.value)["custom_id"] == custom_id]

    (record,) = found(await service.read(topic, lambda read: bool(found(read))))
    return float(record.timestamp / 1000)


def line(number: int, sleep_ms: int) -> bytes:
    body = {"input": "x", "ms": sleep_ms}
    return orjson.dumps({"custom_id": f"r-{number}", "method": "POST", "url": URL, "body": body})


async def test_replicas_come_and_go_with_the_work_and_nothing_is_lost(
    service: Service, kafka_broker: TestBroker
) -> None:
    partitions = service.route("scaled").topics.partitions

    await wait_until(lambda: replicas()["model-sleepy"] == 0, "the idle model goes to zero")
    await service.publish("scaled", [line(0, 10)])
    woken_at_s = await wait_until(lambda: replicas()["model-sleepy"] >= 1, "one record wakes it")
    assert await service.answers("scaled", "r-", 1) == Counter({"r-0": 1})

    burst = [line(number, RECORD_MS) for number in range(1, RECORDS)]
    # (To look at the replicas meanwhile would slow the publishing down.)
    await service.publish("scaled", burst)
    # All at once: a consumer's start takes CPU time from a model's.
    more_at_s, models_at_s, consumers_at_s = await asyncio.gather(
        wait_until(lambda: replicas()["model-sleepy"] > 1, "a burst takes more than one"),
        wait_until(lambda: replicas()["model-sleepy"] == 4, "a burst takes four"),
        wait_until(
            lambda: replicas()["consumer-scaled"] == partitions, "consumers up to the partitions"
        ),
    )
    answers = await service.answers("scaled", "r-", RECORDS)
    drained_at_s = time.monotonic()

    assert replicas()["consumer-scaled"] <= partitions
    assert set(answers) == {f"r-{number}" for number in range(RECORDS)}
    await wait_until(lambda: replicas()["consumer-scaled"] == 1, "consumers go back to one")
    await wait_until(lambda: replicas()["model-sleepy"] == 0, "the model goes back to zero")
    # (The embedded broker refuses commits once another member has asked to join.)
    if kafka_broker.is_apache_kafka:
        assert max(answers.values()) == 1, "nothing was computed twice without a fault"
    rested_s = time.monotonic() - drained_at_s
    single_at_s, burst_at_s = [await published_at_s(service, each) for each in ("r-0", "r-1")]
    print(  # noqa: T201 - the timeline, for runs with -s
        f"woken in {woken_at_s - single_at_s:.1f} s; from the burst's first record on: another "
        f"model asked for after {(more_at_s - burst_at_s) / PERIOD_S:.1f} policy periods, 4 models "
        f"after {models_at_s - burst_at_s:.1f} s, {partitions} consumers after "
        f"{consumers_at_s - burst_at_s:.1f} s; at rest {rested_s:.1f} s after the last result"
    )
