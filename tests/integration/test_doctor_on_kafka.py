"""`headrace doctor` against a real broker, without a Ray cluster."""

import asyncio
import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from consumer.kafka.admin.admin import TopicAdmin, TopicInfo
from consumer.kafka.admin.examining import UnreadAge, examine, unread_ages
from handoff.clock import SystemClock
from headrace.cli import main
from headrace.doctor import looking
from headrace.doctor.cluster import kafka_version
from headrace.doctor.looking import look_at_clusters
from headrace.doctor.ray_probe import RayFacts
from headrace.overview.snapshot import Overview, ReasonCode, RouteState
from schemas.settings.file import KafkaSettings, Settings
from tests.brokers import TestBroker

pytestmark = pytest.mark.kafka


@pytest.fixture
def settings(kafka_broker: TestBroker) -> Settings:
    if not kafka_broker.is_apache_kafka:
        pytest.skip("the embedded broker has none of these settings")
    name = uuid.uuid4().hex
    return Settings.model_validate(
        {
            "kafka": {"bootstrap": kafka_broker.bootstrap},
            "models": {"m": {"kind": "custom", "import_path": "a:B", "urls": ["/v1/x"]}},
            "routes": {
                "r": {
                    "model": "m",
                    "group": f"{name}.g",
                    "requests_topic": f"{name}.in",
                    "results_topic": f"{name}.out",
                    "dead_letters_topic": f"{name}.dead",
                    "delivery": "exactly_once",
                    "transactions": {"timeout_ms": 900_000},
                }
            },
            "jobs": {"topic": f"{name}.jobs"},
        }
    )


async def make_topics(settings: Settings, **requests: str) -> None:
    route = settings.routes["r"]
    topics = (route.requests_topic, route.results_topic, route.dead_letters_topic)
    async with TopicAdmin(settings.kafka) as admin:
        wanted = dict.fromkeys((*topics, settings.jobs.topic), TopicInfo(2, 1))
        own = {route.requests_topic: requests, settings.jobs.topic: {"cleanup.policy": "compact"}}
        await admin.create(wanted, "", own)


async def send(kafka: KafkaSettings, topic: str, timestamp_ms: int) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
        await producer.send_and_wait(topic, b"{}", key=b"k", partition=1, timestamp_ms=timestamp_ms)


async def test_a_cluster_is_examined(settings: Settings) -> None:
    await make_topics(settings, **{"cleanup.policy": "compact", "retention.bytes": "1000000"})
    in_a_minute_ms = SystemClock().epoch_ms() + 60_000
    route = settings.routes["r"]
    await send(settings.kafka, route.requests_topic, in_a_minute_ms)

    cluster = await examine(
        settings.kafka, [route.requests_topic, route.results_topic, "not-there"], "headrace-x/y/0"
    )

    assert set(cluster.topics) == {route.requests_topic, route.results_topic}
    requests = cluster.topics[route.requests_topic]
    assert (requests.partitions, requests.copies, requests.leaderless) == (2, 1, ())
    assert requests.newest_ms == in_a_minute_ms
    assert cluster.topics[route.results_topic].newest_ms is None
    assert requests.settings["cleanup.policy"] == "compact"
    assert int(cluster.settings["transaction.max.timeout.ms"]) > 0
    assert kafka_version(cluster.apis) is not None
    assert cluster.transactional_ids_refused is False

    found = [str(each) for each in await look_at_clusters(settings, SystemClock())]
    for words in (
        "cleanup.policy=compact: of requests with one key only the last is kept",
        "retention.bytes=1000000: a backlog above that is deleted",
        "replication factor of 1",
        "from the future: a producer's clock is ahead",
    ):
        assert any(words in each for each in found), (words, found)


async def test_records_that_retention_will_delete_unread_are_found(settings: Settings) -> None:
    await make_topics(settings)
    kafka, route = settings.kafka, settings.routes["r"]
    now_ms = SystemClock().epoch_ms()

    async def ages(half_ms: int, most_ms: int) -> UnreadAge:
        return await unread_ages(kafka, route.group, route.requests_topic, half_ms, most_ms)

    await send(kafka, route.requests_topic, now_ms - 10_000)
    assert await ages(now_ms, now_ms) == UnreadAge()  # nothing committed: no backlog is known
    await commit(settings, offset=0)
    assert await ages(now_ms - 5_000, now_ms - 20_000) == UnreadAge(before_half=True)
    assert await ages(now_ms, now_ms - 5_000) == UnreadAge(before_half=True, before_most=True)
    await commit(settings, offset=1)
    assert await ages(now_ms, now_ms) == UnreadAge()


async def commit(settings: Settings, offset: int) -> None:
    from aiokafka import AIOKafkaConsumer, TopicPartition  # noqa: PLC0415

    route = settings.routes["r"]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka.bootstrap, group_id=route.group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        partition = TopicPartition(route.requests_topic, 1)
        consumer.assign([partition])
        await consumer.commit({partition: offset})
    finally:
        await consumer.stop()


def test_the_command_tells_every_finding_and_exits_by_the_gravest(
    settings: Settings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(looking, "probe_ray", RayFacts)
    file = tmp_path / "headrace.yaml"
    file.write_text(json.dumps(_plain(settings)))

    def run() -> tuple[int, list[dict[str, str]]]:
        with pytest.raises(SystemExit) as caught:
            main(["doctor", "--json", "--config", str(file)])
        return int(caught.value.code or 0), json.loads(capsys.readouterr().out)["findings"]

    asyncio.run(make_topics(settings))
    code, findings = run()
    about = {each["about"] for each in findings}
    assert {"broker", "topics", "rights", "versions", "machine", "disk", "ports", "clocks"} <= about
    assert all(
        each["fix"] for each in findings if each["level"] != "ok" and each["about"] != "vLLM"
    )
    assert code == int(any(each["level"] == "error" for each in findings))


def test_top_shows_lag_and_jobs_where_no_service_runs(
    settings: Settings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "local")
    file = tmp_path / "headrace.yaml"
    file.write_text(json.dumps(_plain(settings)))
    asyncio.run(make_topics(settings))
    asyncio.run(send(settings.kafka, settings.routes["r"].requests_topic, 1))

    with pytest.raises(SystemExit) as caught:
        main(["top", "--once", "--json", "--config", str(file)])

    assert not caught.value.code
    overview = Overview.from_dict(json.loads(capsys.readouterr().out))
    [route] = overview.routes
    assert route.state is RouteState.UNKNOWN
    assert [each.code for each in route.reasons] == [ReasonCode.NO_SERVICE]
    assert route.lag is not None
    assert (route.lag.left_records, route.lag.partitions) == (1, 2)
    assert (overview.jobs, overview.unanswered) == ([], [])


def _plain(settings: Settings) -> dict[str, Any]:
    return settings.model_dump(mode="json", exclude_unset=True)
