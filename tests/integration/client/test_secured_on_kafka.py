"""TLS and SASL as the settings file has them, on a broker that asks for both."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace_client import (
    AsyncHeadrace,
    Connection,
    KafkaError,
    MissingTopicError,
    Route,
    Sasl,
    Tls,
)
from headrace_client.kafka.topics import TopicAdmin, TopicInfo
from headrace_client.settings import parse_settings
from tests.brokers import kafka_home_needed
from tests.contract.secured import (
    PASSWORDS,
    SecuredBroker,
    make_certificates,
    running_secured_broker,
)
from tests.integration.client.answering_service import AnsweringService, running
from tests.integration.client.model_answers import answer

pytestmark = kafka_home_needed("TLS, SASL and ACLs need an Apache Kafka that we start")

ROUTE = Route(name="r", requests_topic="s.requests", results_topic="s.results", group="g")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    with running_secured_broker(tmp_path_factory.mktemp("secured")) as broker:
        yield broker


@pytest.fixture(autouse=True)
async def topics(secured: SecuredBroker) -> None:
    async with TopicAdmin(Connection(bootstrap=secured.plain.bootstrap)) as admin:
        for topic in (ROUTE.requests_topic, ROUTE.results_topic):
            await admin.create(topic, TopicInfo(1, 1))


def client(secured: SecuredBroker, user: str, password: str, ca_file: Path) -> AsyncHeadrace:
    connection = Connection(
        bootstrap=secured.secure("admin").bootstrap,
        tls=Tls(ca_file=str(ca_file)),
        sasl=Sasl(username=user, password=password),
    )
    return AsyncHeadrace(
        connection=connection,
        requests_topic=ROUTE.requests_topic,
        results_topic=ROUTE.results_topic,
    )


async def test_a_call_through_tls_and_sasl(secured: SecuredBroker) -> None:
    settings = parse_settings(
        {
            "kafka": {
                "bootstrap": secured.secure("admin").bootstrap,
                "tls": {"ca_file": str(secured.ca_file)},
                "sasl": {"username": "admin"},
            },
            "routes": {
                "r": {
                    "requests_topic": ROUTE.requests_topic,
                    "results_topic": ROUTE.results_topic,
                    "group": ROUTE.group,
                }
            },
        },
        {"HEADRACE_KAFKA__SASL__PASSWORD": PASSWORDS["admin"]},
    )
    async with (
        running(secured.plain.bootstrap, ROUTE, AnsweringService(answer)),
        AsyncHeadrace(settings=settings) as found,
    ):
        assert (await found.embed(["abc"], timeout_s=30)).vectors.tolist() == [[3, 1]]


async def test_a_wrong_password_is_told_and_not_shown(secured: SecuredBroker) -> None:
    async with client(secured, "admin", "not-the-password", secured.ca_file) as found:
        with pytest.raises(KafkaError, match=r"kafka\.sasl .*username admin") as caught:
            await found.embed(["a"])

    assert "not-the-password" not in str(caught.value)


async def test_a_user_without_rights_is_told(secured: SecuredBroker) -> None:
    async with client(secured, "stranger", PASSWORDS["stranger"], secured.ca_file) as found:
        with pytest.raises(MissingTopicError, match="or this user may not describe it"):
            await found.embed(["a"])


async def test_a_broker_of_another_ca_is_told(secured: SecuredBroker, tmp_path: Path) -> None:
    other_ca, _store = make_certificates(tmp_path)
    async with client(secured, "admin", PASSWORDS["admin"], other_ca) as found:
        with pytest.raises(KafkaError, match=r"kafka\.tls \(the CA"):
            await found.embed(["a"])
