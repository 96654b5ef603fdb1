"""TLS, SASL, authorization and a crash of the broker: Apache Kafka of KAFKA_HOME only."""

import asyncio
import logging
from collections.abc import Iterator

import pytest

from consumer.kafka.admin.admin import TopicAdmin, TopicInfo
from consumer.kafka.sink import producer_slot
from consumer.kafka.sink.sink import KafkaSink
from consumer.kafka.source.source import KafkaSource
from consumer.ports import Message, OffsetAndMetadata, SourceError
from consumer.ports import TopicPartition as Partition
from schemas.settings.file import KafkaSettings, TlsSettings
from tests.brokers import kafka_home_needed
from tests.contract.secured import PASSWORDS, SecuredBroker, running_secured_broker
from tests.contract.worlds import Member, make_route
from tests.publishing import PublishingSink

pytestmark = kafka_home_needed("TLS, SASL and ACLs need an Apache Kafka that we start")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    with running_secured_broker(tmp_path_factory.mktemp("secured")) as broker:
        yield broker


async def make_topic(settings: KafkaSettings, topic: str) -> None:
    async with TopicAdmin(settings) as admin:
        await admin.ensure_topics({topic: TopicInfo(2, 1)})


async def test_publishing_and_reading_over_tls_and_scram(
    secured: SecuredBroker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = secured.secure("admin")
    await make_topic(settings, "over-tls")
    sink = PublishingSink(KafkaSink(settings, ["over-tls"]))
    await sink.start()
    source = KafkaSource(settings, make_route("over-tls", "tls-readers"))
    member = Member(source)
    try:
        messages = [Message("over-tls", b"%d" % n, b"secret %d" % n, []) for n in range(50)]
        assert await sink.publish(messages) == []
        await source.start(member)
        await member.until(lambda it: bool(it.assignment))
        records = await member.read(50)
        await source.commit({Partition("over-tls", 0): OffsetAndMetadata(1, "map")})
    finally:
        await sink.stop()
        await source.stop()

    assert {record.value for record in records} == {message.value for message in messages}
    assert all(password not in caplog.text for password in PASSWORDS.values())


async def test_a_wrong_password_is_told_apart_and_not_repeated(secured: SecuredBroker) -> None:
    source = KafkaSource(secured.secure("admin", "wrong-pass-3"), make_route("t", "g"))

    with pytest.raises(SourceError) as caught:
        await source.start(Member(source))

    assert "kafka.sasl" in str(caught.value)
    assert "Authentication failed" in str(caught.value)
    assert "wrong-pass-3" not in str(caught.value)


async def test_a_broker_with_a_certificate_of_another_ca_is_not_trusted(
    secured: SecuredBroker,
) -> None:
    settings = secured.secure("admin").model_copy(update={"tls": TlsSettings()})

    with pytest.raises(SourceError, match=r"CERTIFICATE_VERIFY_FAILED.*kafka\.tls"):
        await PublishingSink(KafkaSink(settings, ["t"])).start()


async def test_a_user_without_rights_is_told_which_to_ask_for(secured: SecuredBroker) -> None:
    await make_topic(secured.plain, "not-yours")
    settings = secured.secure("stranger")
    source = KafkaSource(settings, make_route("not-yours", "strangers"))

    with pytest.raises(SourceError, match="grant this user"):
        await source.start(Member(source))
    with pytest.raises(SourceError, match="grant this user"):
        await PublishingSink(KafkaSink(settings, ["not-yours"])).start()


async def test_a_broker_killed_and_started_again_costs_nothing(secured: SecuredBroker) -> None:
    settings = secured.plain
    await make_topic(settings, "survives")
    sink = PublishingSink(KafkaSink(settings, ["survives"]))
    await sink.start()
    source = KafkaSource(settings, make_route("survives", "survivors"))
    member = Member(source)
    await source.start(member)
    await member.until(lambda it: bool(it.assignment))
    acknowledged: list[bytes] = []
    is_back = asyncio.Event()

    async def publish_all() -> None:
        number = 0
        while not is_back.is_set() or number < 100:
            values = [b"%d" % (number + n) for n in range(10)]
            messages = [Message("survives", value, value, []) for value in values]
            assert await sink.publish(messages) == []
            acknowledged.extend(values)
            number += 10
            await asyncio.sleep(0.005)

    publishing = asyncio.create_task(publish_all())
    try:
        read = {record.value for record in await member.read(20)}
        secured.kill()
        committing = asyncio.create_task(
            source.commit({Partition("survives", 0): OffsetAndMetadata(1, "while away")})
        )
        await source.poll(sorted(member.assignment), 100, 0.5)
        secured.start_again()
        is_back.set()
        await asyncio.wait_for(publishing, 60)
        await asyncio.wait_for(committing, 60)
        source.seek(Partition("survives", 0), 0)
        source.seek(Partition("survives", 1), 0)
        async with asyncio.timeout(60):
            while not read >= set(acknowledged):
                read |= {r.value for r in await source.poll(sorted(member.assignment), 500, 0.5)}
        points = await source.committed([Partition("survives", 0)])
    finally:
        publishing.cancel()
        await sink.stop()
        await source.stop()

    assert points == {Partition("survives", 0): OffsetAndMetadata(1, "while away")}


async def test_what_a_cut_off_producer_had_in_flight_is_published_again(
    secured: SecuredBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producer_slot, "RETIRE_TIMEOUT_S", 0.2)
    settings = secured.plain
    await make_topic(settings, "cut-off")
    on_kafka = KafkaSink(settings, ["cut-off"])
    sink = PublishingSink(on_kafka)
    await sink.start()
    assert await sink.publish([Message("cut-off", b"k", b"before", [])]) == []
    slot = on_kafka._slot
    assert slot is not None
    secured.kill()
    try:
        publishing = asyncio.create_task(sink.publish([Message("cut-off", b"k", b"after", [])]))
        await asyncio.sleep(0.5)
        # As another partition's writer does when its batch has expired.
        slot.retire(slot._producer)
        await asyncio.sleep(1.0)
        assert not publishing.done()
    finally:
        secured.start_again()
    try:
        assert await asyncio.wait_for(publishing, 60) == []
    finally:
        await sink.stop()
