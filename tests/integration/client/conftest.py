"""Topics of their own for each test, and the arguments of a client on them."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from headrace_client import Connection, Route
from headrace_client.kafka.topics import TopicAdmin, TopicInfo
from tests.brokers import TestBroker
from tests.integration.client.answering_service import AnsweringService, running
from tests.integration.client.model_answers import answer

PARTITIONS = 3


@pytest.fixture
def connection(kafka_broker: TestBroker) -> Connection:
    return Connection(bootstrap=kafka_broker.bootstrap)


@pytest.fixture
async def route(connection: Connection) -> Route:
    name = f"c{uuid4().hex[:10]}"
    found = Route(
        name=name,
        requests_topic=f"{name}.requests",
        results_topic=f"{name}.results",
        control_topic=f"{name}.control",
        group=f"{name}-group",
    )
    async with TopicAdmin(connection) as admin:
        for topic in (found.requests_topic, found.results_topic, f"{name}.control"):
            await admin.create(topic, TopicInfo(PARTITIONS, 1))
    return found


@pytest.fixture
def arguments(connection: Connection, route: Route) -> dict[str, Any]:
    return {
        "connection": connection,
        "route": route.name,
        "requests_topic": route.requests_topic,
        "results_topic": route.results_topic,
        "control_topic": route.control_topic,
        "group": route.group,
    }


@pytest.fixture
async def service(connection: Connection, route: Route) -> AsyncIterator[AnsweringService]:
    found = AnsweringService(answer)
    async with running(connection.bootstrap, route, found):
        yield found
