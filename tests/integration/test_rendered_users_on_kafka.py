"""The rights that are rendered for Kafka's users suffice for the commands, on real brokers."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest

from consumer.kafka.admin.admin import TopicAdmin, TopicInfo
from consumer.kafka.client.connection import client_options
from consumer.kafka.sink.sink import KafkaSink
from consumer.kafka.transactions.sink import KafkaTransactionalSink
from consumer.ports import Message, OffsetAndMetadata, Rejection, TopicPartition
from headrace.cli import main
from headrace.kubernetes.kafka import kafka_users
from headrace.kubernetes.names import StrimziCluster
from headrace.preflight.findings import errors_of
from headrace.preflight.looking import look_at_broker
from headrace.topics import create_missing_topics
from schemas.settings.file import KafkaSettings, Settings
from schemas.wire import headers
from tests.brokers import kafka_home_needed
from tests.contract.secured import PASSWORDS, SecuredBroker, running_secured_broker
from tests.publishing import PublishingSink

pytestmark = kafka_home_needed("TLS, SASL and ACLs need an Apache Kafka that we start")

USER = "headrace"
CLIENT = f"{USER}-client"
CLIENT_PASSWORD = "client-pass-3"
RESOURCE_TYPES = {"topic": 2, "group": 3, "transactionalId": 5}
PATTERN_TYPES = {"literal": 3, "prefix": 4}
OPERATIONS = {
    "Read": 3,
    "Write": 4,
    "Create": 5,
    "Delete": 6,
    "Describe": 8,
    "DescribeConfigs": 10,
}
ALLOW = 3


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    passwords = {**PASSWORDS, USER: "service-pass-4", CLIENT: CLIENT_PASSWORD}
    with running_secured_broker(tmp_path_factory.mktemp("users"), passwords) as broker:
        yield broker


def settings_of(kafka: KafkaSettings, **route: Any) -> Settings:
    return Settings.model_validate(
        {
            "kafka": kafka.model_dump(),
            "models": {"m": {"kind": "embedder", "source": "wheel:x"}},
            "routes": {
                "r": {
                    "model": "m",
                    "group": "users.g",
                    "requests_topic": "users.in",
                    "results_topic": "users.out",
                    "dead_letters_topic": "users.dead",
                    "control_topic": "users.control",
                    "reply_topics": ["users.bulk-*", "users.replies"],
                    **route,
                }
            },
        }
    )


async def grant(kafka: KafkaSettings, user: dict[str, Any]) -> None:
    """Do what Strimzi's user operator does with a ``KafkaUser``."""
    client = AIOKafkaAdminClient(**client_options(kafka))
    await client.start()
    try:
        for acl in user["spec"]["authorization"]["acls"]:
            resource = acl["resource"]
            for operation in acl["operations"]:
                answer = await client._send_to_controller(
                    CreateAclsRequest(
                        RESOURCE_TYPES[resource["type"]],
                        resource["name"],
                        PATTERN_TYPES[resource["patternType"]],
                        f"User:{user['metadata']['name']}",
                        "*",
                        OPERATIONS[operation],
                        ALLOW,
                    )
                )
                assert [each[0] for each in answer.creation_responses] == [0]
    finally:
        await client.close()


async def publish_dead_letters(kafka: KafkaSettings, topic: str, ids: list[str]) -> None:
    async with AIOKafkaProducer(**client_options(kafka)) as producer:
        for custom_id in ids:
            await producer.send_and_wait(
                topic,
                json.dumps({"custom_id": custom_id, "body": {}}).encode(),
                headers=[
                    (headers.SOURCE, b"users.in/0/7"),
                    (headers.ROUTE, b"r"),
                    (headers.ERROR_CODE, b"model_failed"),
                    (headers.ERROR_MESSAGE, b"because"),
                    (headers.ATTEMPTS, b"5"),
                    (headers.FAILED_AT, b"1700000000000"),
                ],
            )


def test_the_client_user_may_run_every_command_of_a_client(
    secured: SecuredBroker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = settings_of(secured.plain)
    create_missing_topics(settings)
    of_service = settings_of(secured.secure(USER))
    users = kafka_users(of_service, StrimziCluster(name="c", port=9093))
    [client] = [each for each in users if each["metadata"]["name"] == CLIENT]
    asyncio.run(grant(secured.plain, client))
    asyncio.run(publish_dead_letters(secured.plain, "users.dead", ["a", "b", "c"]))
    kafka = secured.secure(CLIENT)
    file = tmp_path / "headrace.yaml"
    data = settings.model_dump(mode="json", exclude_unset=True)
    data["kafka"] = {
        "bootstrap": kafka.bootstrap,
        "tls": {"ca_file": str(secured.ca_file)},
        "sasl": {"mechanism": "SCRAM-SHA-512", "username": CLIENT},
    }
    file.write_text(yaml.safe_dump(data))
    monkeypatch.setenv("HEADRACE_CONFIG", str(file))
    monkeypatch.setenv("HEADRACE_KAFKA__SASL__PASSWORD", CLIENT_PASSWORD)
    lines = tmp_path / "lines.jsonl"
    lines.write_text('{"custom_id": "s", "url": "/v1/embeddings", "body": {"input": "x"}}\n')

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as caught:
            main(list(arguments))
        captured = capsys.readouterr()
        assert not caught.value.code, f"{arguments}: {captured.err}"
        return captured.out

    assert json.loads(run("check", "--json"))["topics"] == {
        "looked_at": True,
        "warnings": [],
        "reason": None,
    }
    run("submit", str(lines))
    run("results")
    run("status", "--no-service")
    run("cancel", "--custom-id", "s", "--yes")
    assert len(run("dlq", "list", "--json").splitlines()) == 3
    run("dlq", "show", "a")
    assert json.loads(run("dlq", "replay", "--yes", "--json", "--limit", "1")) == {
        "replayed_records": 1,
        "left_records": 0,
        "problems": [],
    }
    assert len(run("dlq", "list", "--json").splitlines()) == 2
    run("dlq", "purge", "--yes")
    assert run("dlq", "list", "--json") == ""


async def test_a_deep_check_finds_the_rights_that_a_user_lacks(secured: SecuredBroker) -> None:
    await asyncio.to_thread(create_missing_topics, settings_of(secured.plain))
    of_service = settings_of(secured.secure(USER))
    [service, _] = kafka_users(of_service, StrimziCluster(name="c", port=9093))
    await grant(secured.plain, service)

    async with asyncio.timeout(60):
        # A cluster makes the topic of its groups when it is first asked for one.
        await look_at_broker(settings_of(secured.plain))
        granted = await look_at_broker(of_service)
        refused = errors_of(await look_at_broker(settings_of(secured.secure("stranger"))))
        missing = settings_of(secured.secure(USER), requests_topic="users.missing")
        uncreatable = errors_of(await look_at_broker(missing))

    assert errors_of(granted) == []
    assert ("ok", "rights") in {(each.level, each.about) for each in granted}
    hidden = {each.where for each in refused if "may not see it" in each.says}
    assert {"users.in", "users.out", "users.dead", "users.control"} <= hidden
    assert [each.says for each in refused if each.where == "group users.g"] == [
        "this user lacks Read"
    ]
    assert [each.where for each in uncreatable] == ["users.missing"]
    assert all(each.fix for each in (*refused, *uncreatable))


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
async def test_the_service_may_write_to_the_reply_topics_of_its_route_and_no_others(
    secured: SecuredBroker, delivery: str
) -> None:
    settings = settings_of(secured.secure(USER), delivery=delivery)
    route = settings.routes["r"]
    topics = ["users.in", "users.out", "users.dead", "users.replies", "users.bulk-1", "others.1"]
    async with TopicAdmin(secured.plain) as admin:
        await admin.ensure_topics(dict.fromkeys(topics, TopicInfo(1, 1)))
    [service, _] = kafka_users(settings, StrimziCluster(name="c", port=9093))
    await grant(secured.plain, service)

    async def publish(*names: str) -> list[Rejection]:
        messages = [Message(name, b"k", name.encode(), []) for name in names]
        if delivery == "at_least_once":
            return await plain.publish(messages)
        return await transactional.publish(partition, messages, OffsetAndMetadata(1, ""))

    partition = TopicPartition("users.in", 0)
    plain = PublishingSink(KafkaSink(settings.kafka, ["users.out", "users.dead"]))
    transactional = KafkaTransactionalSink(settings.kafka, route)
    sink = plain if delivery == "at_least_once" else transactional
    async with asyncio.timeout(60):
        await sink.start()
        try:
            if sink is transactional:
                await transactional.take_over([partition])
            (rejection,) = await publish("users.out", "others.1")
            assert rejection.message.topic == "others.1"
            assert "grant it Write and Describe" in rejection.reason
            assert not rejection.is_missing
            assert not rejection.is_passing
            while rejections := await publish("users.out", "users.replies", "users.bulk-1"):
                assert all(each.is_passing for each in rejections), rejections
        finally:
            await sink.stop()
