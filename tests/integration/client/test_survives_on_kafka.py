"""A client goes on: through a broker's restart, more partitions, a topic that is made anew."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from headrace.brokers import start_broker
from headrace_client import AsyncHeadrace, Connection, Route
from headrace_client.kafka.publishing import RequestPublisher
from headrace_client.kafka.reading import TopicReader
from headrace_client.kafka.topics import TopicAdmin, TopicInfo
from tests.brokers import kafka_home_needed
from tests.integration.client.answering_service import AnsweringService, running
from tests.integration.client.model_answers import answer
from tests.waiting import within

pytestmark = kafka_home_needed("restarts a broker and deletes topics")


async def read_values(reader: TopicReader, wanted: int) -> list[bytes | None]:
    found: list[bytes | None] = []
    async with within(f"{wanted} records of {reader.topic}"):
        while len(found) < wanted:
            found += [record.value for record in await reader.read(0.5)]
    return found


async def test_a_partition_that_is_added_is_read_and_written(
    arguments: dict[str, Any], connection: Connection, route: Route
) -> None:
    async with (
        running(connection.bootstrap, route, AnsweringService(answer)),
        AsyncHeadrace(**arguments) as client,
    ):
        async with within("the first answer"):
            await client.embed(["a"])
        admin = AIOKafkaAdminClient(bootstrap_servers=connection.bootstrap)
        await admin.start()
        try:
            grown = NewPartitions(total_count=12)
            await admin.create_partitions({route.requests_topic: grown, route.results_topic: grown})
        finally:
            await admin.close()
        async with within("a request in each of the new partitions"):
            while True:
                await asyncio.gather(*(client.embed([f"{number}"]) for number in range(60)))
                async with TopicReader(connection, route.requests_topic) as reader:
                    if all(each.end for each in (await reader.bounds()).values()):
                        break


async def test_a_stand_in_that_lost_its_coordinator_ends(
    connection: Connection, route: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending = AIOKafkaConsumer.stop

    async def lost(consumer: AIOKafkaConsumer) -> None:
        stopping = asyncio.ensure_future(ending(consumer))
        await asyncio.sleep(0)
        # As when its heartbeats come late on a busy machine.
        consumer._coordinator.coordinator_dead()
        await stopping

    service = AnsweringService(answer)
    async with within("the end of the service"), running(connection.bootstrap, route, service):
        async with AsyncHeadrace(
            connection=connection,
            requests_topic=route.requests_topic,
            results_topic=route.results_topic,
        ) as client:
            await client.embed(["a"])
        monkeypatch.setattr(AIOKafkaConsumer, "stop", lost)


async def test_a_topic_that_is_made_anew_is_read_from_its_start(
    connection: Connection, route: Route
) -> None:
    topic = route.results_topic
    async with TopicReader(connection, topic) as reader:
        await reader.assign_ends()
        async with RequestPublisher(connection, topic) as publisher:
            for number in range(5):
                publisher.publish(b"old %d" % number)
        assert len(await read_values(reader, 5)) == 5

        async with TopicAdmin(connection) as admin:
            await admin.delete([topic])
            async with within(f"the end of {topic}"):
                while (await admin.describe([topic]))[topic] is not None:
                    await asyncio.sleep(0.1)
            await admin.create(topic, TopicInfo(1, 1))
        # More than stood there before: the old positions are inside the new log.
        async with RequestPublisher(connection, topic) as publisher:
            for number in range(20):
                publisher.publish(b"new %d" % number)

        found: set[bytes | None] = set()
        async with within(f"the new records of {topic}"):
            while len(found) < 20:
                found.update(record.value for record in await reader.read(0.5))
        assert found == {b"new %d" % number for number in range(20)}


async def test_a_position_that_is_gone_goes_on_from_the_start_of_the_log(
    connection: Connection, route: Route
) -> None:
    async with (
        TopicReader(connection, route.results_topic) as reader,
        RequestPublisher(connection, route.results_topic) as publisher,
    ):
        for number in range(9):
            publisher.publish(b"%d" % number)
        await publisher.flush()
        reader.assign(dict.fromkeys(range(3), 1_000_000))

        assert sorted(each or b"" for each in await read_values(reader, 9)) == [
            b"%d" % number for number in range(9)
        ]


async def test_a_broker_that_restarts(tmp_path: Path) -> None:
    name = "survives"
    route = Route(
        name=name, requests_topic=f"{name}.requests", results_topic=f"{name}.results", group="g"
    )
    with start_broker("kafka-home", data_dir=tmp_path) as broker:
        connection = Connection(bootstrap=broker.bootstrap)
        async with TopicAdmin(connection) as admin:
            for topic in (route.requests_topic, route.results_topic):
                await admin.create(topic, TopicInfo(3, 1))
        client = AsyncHeadrace(
            connection=connection,
            requests_topic=route.requests_topic,
            results_topic=route.results_topic,
        )
        async with (
            running(broker.bootstrap, route, AnsweringService(answer)),
            within("the first answer"),
        ):
            assert len(await client.embed(["a"])) == 1
    port = int(broker.bootstrap.rpartition(":")[2])
    waiting = [asyncio.create_task(client.embed(["x" * number])) for number in range(1, 40)]
    await asyncio.sleep(3.0)
    assert not any(task.done() for task in waiting)
    with start_broker("kafka-home", data_dir=tmp_path, port=port) as broker:
        async with running(broker.bootstrap, route, AnsweringService(answer)):
            async with within("39 answers of the restarted broker", 90):
                embedded = await asyncio.gather(*waiting)
            assert [int(each.vectors[0, 0]) for each in embedded] == list(range(1, 40))
            await client.close()
