"""Tokens that expire, and passwords and certificates that are replaced, on a real broker."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from consumer.kafka.admin.admin import TopicAdmin, TopicInfo
from consumer.kafka.client.cluster_client import ClusterClient
from consumer.kafka.sink.sink import KafkaSink
from consumer.kafka.source.source import KafkaSource
from consumer.ports import Message, SourceError
from headrace.brokers.kafka_home import ExtraListener
from headrace.brokers.readiness import free_port
from headrace_client.kafka.publishing import RequestPublisher
from headrace_client.settings import parse_settings
from schemas.settings.file import KafkaSettings, OAuthSettings, SaslSettings, TlsSettings
from tests.brokers import kafka_home_needed
from tests.contract.secured import SecuredBroker, make_client_certificate
from tests.contract.worlds import Member, make_route
from tests.publishing import PublishingSink
from tests.token_endpoint import TokenEndpoint, token_endpoint

pytestmark = kafka_home_needed("TLS, SASL and ACLs need an Apache Kafka that we start")

TOPIC = "credentials"
SESSION_S = 2.0
"""How long brokers take a connection's authentication for valid."""


class Broker(SecuredBroker):
    """A secured broker with a listener for tokens, and one for client certificates."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.token_port, self.certificate_port = free_port(), free_port()
        session_ms = str(int(SESSION_S * 1000))
        tokens = "listener.name.tokens"
        super().__init__(
            directory,
            more_listeners=(
                ExtraListener(name="TOKENS", protocol="SASL_PLAINTEXT", port=self.token_port),
                ExtraListener(name="CERTS", protocol="SSL", port=self.certificate_port),
            ),
            properties={
                "super.users": "User:admin;User:ANONYMOUS;User:CN=new",
                "listener.name.secure.scram-sha-512.connections.max.reauth.ms": session_ms,
                f"{tokens}.sasl.enabled.mechanisms": "OAUTHBEARER",
                f"{tokens}.oauthbearer.connections.max.reauth.ms": "3600000",
                f"{tokens}.oauthbearer.sasl.jaas.config": (
                    "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required "
                    'unsecuredLoginStringClaim_sub="admin";'
                ),
                "listener.name.certs.ssl.client.auth": "required",
                "listener.name.certs.ssl.truststore.type": "PEM",
                "listener.name.certs.ssl.truststore.location": str(directory / "ca.pem"),
                "listener.name.certs.ssl.keystore.type": "PEM",
                "listener.name.certs.ssl.keystore.location": str(directory / "keystore.pem"),
            },
        )

    def change_password(self, user: str, password: str) -> None:
        home = Path(os.environ["KAFKA_HOME"])
        subprocess.run(
            [
                "java", "-XX:TieredStopAtLevel=1", "-cp", f"{home}/libs/*",
                "kafka.admin.ConfigCommand", "--bootstrap-server", self.plain.bootstrap,
                "--alter", "--entity-type", "users", "--entity-name", user,
                "--add-config", f"SCRAM-SHA-512=[password={password}]",
            ],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    started = Broker(tmp_path_factory.mktemp("credentials"))
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture
def endpoint() -> Iterator[TokenEndpoint]:
    with token_endpoint() as running:
        yield running


@pytest.fixture(autouse=True)
async def topic(broker: Broker) -> None:
    async with TopicAdmin(broker.plain) as admin:
        await admin.ensure_topics({TOPIC: TopicInfo(2, 1)})


def with_tokens(broker: Broker, endpoint: TokenEndpoint) -> KafkaSettings:
    oauth = OAuthSettings.model_validate(
        {
            "token_url": endpoint.url,
            "client_id": "headrace",
            "client_secret": "secret-7b1",
            "extensions": {"logicalCluster": "lkc-1"},
        }
    )
    return KafkaSettings(
        bootstrap=f"127.0.0.1:{broker.token_port}",
        sasl=SaslSettings(mechanism="OAUTHBEARER", oauth=oauth),
    )


@asynccontextmanager
async def publishing(settings: KafkaSettings) -> AsyncIterator[PublishingSink]:
    sink = PublishingSink(KafkaSink(settings, [TOPIC]))
    await sink.start()
    try:
        yield sink
    finally:
        await sink.stop()


async def publish_for(sink: PublishingSink, seconds: float) -> int:
    """Publish again and again; every message is acknowledged."""
    end_s = asyncio.get_running_loop().time() + seconds
    number = 0
    while asyncio.get_running_loop().time() < end_s:
        messages = [Message(TOPIC, None, b"%d" % number, [])]
        async with asyncio.timeout(20):
            assert await sink.publish(messages) == []
        number += 1
        await asyncio.sleep(0.05)
    return number


async def test_tokens_are_shared_and_renewed_before_they_expire(
    broker: Broker, endpoint: TokenEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint.lifetime_s = 4.0
    settings = with_tokens(broker, endpoint)
    source = KafkaSource(settings, make_route(TOPIC, "token-readers"))
    member = Member(source)
    async with publishing(settings) as sink:
        await source.start(member)
        try:
            await member.until(lambda it: bool(it.assignment))
            published = await publish_for(sink, 6.0)
            records = await member.read(published)
        finally:
            await source.stop()

    assert len(records) >= published
    # A connection of several clients needs no token of its own, and none is used to its end.
    assert 2 <= len(endpoint.asked) <= 5
    assert "secret-7b1" not in caplog.text
    # Brokers end a connection whose token has expired; all were replaced before.
    assert not [each for each in caplog.records if "Authentication" in each.getMessage()]


async def test_a_refused_client_is_told_which_settings_to_check(
    broker: Broker, endpoint: TokenEndpoint
) -> None:
    endpoint.answers = [(401, b'{"error":"invalid_client"}')] * 10

    with pytest.raises(SourceError) as caught:
        async with publishing(with_tokens(broker, endpoint)):
            pass

    assert "401, invalid_client; check client_id" in str(caught.value)
    assert "kafka.sasl.oauth (tokens come from http://127.0.0.1" in str(caught.value)
    assert "secret-7b1" not in str(caught.value)


async def test_the_client_takes_the_same_settings(broker: Broker, endpoint: TokenEndpoint) -> None:
    settings = parse_settings(
        {
            "kafka": {
                "bootstrap": f"127.0.0.1:{broker.token_port}",
                "compression": "zstd",
                "sasl": {
                    "mechanism": "OAUTHBEARER",
                    "oauth": {"token_url": endpoint.url, "client_id": "c"},
                },
            }
        },
        {"HEADRACE_KAFKA__SASL__OAUTH__CLIENT_SECRET": "s"},
    )

    async with RequestPublisher(settings.connection, TOPIC) as publisher:
        place = await publisher.publish(b"x")

    assert place.offset >= 0


async def test_a_password_is_replaced_without_a_restart(broker: Broker, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("admin-pass-1\n")
    settings = KafkaSettings(
        bootstrap=broker.secure("admin").bootstrap,
        tls=TlsSettings(ca_file=broker.ca_file),
        sasl=SaslSettings(username="admin", password_file=file),
    )
    async with publishing(settings) as sink:
        going_on = asyncio.create_task(publish_for(sink, 3 * SESSION_S + 3.0))
        await asyncio.to_thread(broker.change_password, "admin", "admin-pass-2")
        replacement = tmp_path / "password.new"
        replacement.write_text("admin-pass-2\n")
        replacement.rename(file)
        assert await going_on > 50

    with pytest.raises(SourceError, match="Authentication failed"):
        async with publishing(broker.secure("admin", "admin-pass-1")):
            pass
    await asyncio.to_thread(broker.change_password, "admin", "admin-pass-1")


async def test_a_client_certificate_is_replaced_without_a_restart(
    broker: Broker, tmp_path: Path
) -> None:
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    made = {name: make_client_certificate(broker.directory, name) for name in ("old", "new")}

    def install(name: str) -> None:
        for from_file, to_file in zip(made[name], (cert, key), strict=True):
            shutil.copy(from_file, tmp_path / "next")
            (tmp_path / "next").rename(to_file)

    install("old")
    settings = KafkaSettings(
        bootstrap=f"127.0.0.1:{broker.certificate_port}",
        tls=TlsSettings(ca_file=broker.ca_file, cert_file=cert, key_file=key),
    )
    client = ClusterClient(settings, "certificates", 5_000)
    await client.start([])
    try:
        # Only CN=new has rights.
        assert await client.find_partitions(TOPIC) == []
        install("new")
        async with asyncio.timeout(10):
            while await client.find_partitions(TOPIC) != [0, 1]:
                await asyncio.sleep(0.2)
    finally:
        await client.close()
