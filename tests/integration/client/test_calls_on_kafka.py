"""Calls on a real broker, answered by a consumer in this process."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from headrace_client import (
    AsyncHeadrace,
    ClosedError,
    Connection,
    DeliveryError,
    MissingTopicError,
    RequestFailedError,
    RequestRefusedError,
    ResultTimeoutError,
    Route,
)
from headrace_client.kafka.publishing import RequestPublisher
from headrace_client.kafka.reading import TopicReader, TopicRecord
from headrace_client.kafka.topics import TopicAdmin, TopicInfo
from headrace_client.settings import parse_settings
from schemas.wire.control import parse_control_record
from tests.integration.client.answering_service import AnsweringService, running
from tests.integration.client.model_answers import BAD, BROKEN, LARGE, LOST, answer
from tests.waiting import within

pytestmark = pytest.mark.kafka


@pytest.fixture
async def client(arguments: dict[str, Any]) -> AsyncIterator[AsyncHeadrace]:
    async with AsyncHeadrace(**arguments) as found:
        yield found


async def read_all(connection: Connection, topic: str) -> list[tuple[bytes | None, int]]:
    async with TopicReader(connection, topic) as reader:
        return [
            (record.value, record.timestamp_ms) async for part in reader.scan({}) for record in part
        ]


async def test_every_endpoint(client: AsyncHeadrace, service: AnsweringService) -> None:
    embedded = await client.embed(["a", "bbb"], dimensions=2, input_type="query")
    assert embedded.vectors.tolist() == [[1, 1], [3, 1]]
    assert service.seen[-1]["body"] == {
        "input": ["a", "bbb"],
        "dimensions": 2,
        "input_type": "query",
        "encoding_format": "base64",
    }
    reranked = await client.rerank("q", ["a", "ccc", "bb"], top_n=2)
    assert [each.index for each in reranked.results] == [1, 2]
    assert (await client.score("q", ["a", "bb"])).scores == (1, 2)
    assert [each.label for each in (await client.classify(["xa", "yb"])).labels] == ["x", "y"]
    chat = await client.chat([{"role": "user", "content": "hi"}], temperature=0)
    assert chat.choices[0].message.content == "hi!"
    assert type(chat).__module__.startswith("openai.")
    assert (await client.complete("ho")).choices[0].text == "ho!"
    result = await client.request("/v1/embeddings", {"input": "abc"})
    assert result.body["usage"]["prompt_tokens"] == 1


async def test_a_long_list_is_split_and_put_together(
    client: AsyncHeadrace, service: AnsweringService
) -> None:
    texts = ["x" * (1 + number % 50) for number in range(1_000)]

    embedded = await client.embed(texts)

    assert [int(each) for each in embedded.vectors[:, 0]] == [len(text) for text in texts]
    assert embedded.prompt_tokens == 1_000
    assert len(service.seen) == 16


async def test_a_request_whose_result_is_too_large_is_halved(
    client: AsyncHeadrace, service: AnsweringService
) -> None:
    embedded = await client.embed(["a", "bb", LARGE, "cccc"])

    assert [int(each) for each in embedded.vectors[:, 0]] == [1, 2, 5, 4]
    assert len(service.seen) == 5


async def test_errors_are_raised_where_they_belong(
    client: AsyncHeadrace, service: AnsweringService
) -> None:
    good = [client.embed([f"text {number}"]) for number in range(5)]
    *fine, refused, failed = await asyncio.gather(
        *good, client.embed([BAD]), client.embed([BROKEN]), return_exceptions=True
    )

    assert len(fine) == 5
    assert isinstance(refused, RequestRefusedError)
    assert (refused.param, refused.status_code) == ("input", 400)
    assert isinstance(failed, RequestFailedError)
    assert failed.code == "model_failed"


async def test_a_repeat_and_other_clients_results_are_passed_over(
    arguments: dict[str, Any], connection: Connection, route: Route
) -> None:
    service = AnsweringService(answer, times=3)
    async with (
        running(connection.bootstrap, route, service),
        AsyncHeadrace(**arguments) as first,
        AsyncHeadrace(**arguments) as second,
    ):
        calls = [each.embed(["x" * number]) for number in range(1, 30) for each in (first, second)]
        embedded = await asyncio.gather(*calls)

    assert [int(each.vectors[0, 0]) for each in embedded] == [
        number for number in range(1, 30) for _client in (first, second)
    ]


async def test_a_record_over_the_topics_limit_fails_its_call_alone(
    client: AsyncHeadrace, service: AnsweringService
) -> None:
    large, *fine = await asyncio.gather(
        client.embed(["x" * 2_000_000]),
        *(client.embed([f"{number}"]) for number in range(20)),
        return_exceptions=True,
    )

    assert isinstance(large, DeliveryError)
    assert "max.message.bytes" in str(large)
    assert [type(each).__name__ for each in fine] == ["Embeddings"] * 20


async def test_a_service_that_does_not_run_is_told(client: AsyncHeadrace, route: Route) -> None:
    with pytest.raises(ResultTimeoutError) as caught:
        await client.embed(["a"], timeout_s=1.0)

    assert isinstance(caught.value, TimeoutError)
    assert f"nobody reads {route.requests_topic}: group {route.group}" in str(caught.value)


async def test_a_timeout_is_the_requests_deadline(
    client: AsyncHeadrace, service: AnsweringService
) -> None:
    await client.embed(["a"])
    with pytest.raises(ResultTimeoutError, match=r"has finished these requests|works"):
        await client.embed([LOST], timeout_s=1.0)

    assert not [name for name, _value in service.seen_headers[0] if name == "headrace-deadline"]
    assert int(dict(service.seen_headers[1])["headrace-deadline"] or b"") > 1_700_000_000_000


async def test_a_cancelled_task_cancels_its_request(
    client: AsyncHeadrace, service: AnsweringService, connection: Connection, route: Route
) -> None:
    await client.embed(["a"])
    task = asyncio.create_task(client.embed([LOST]))
    async with within("the second request"):
        while len(service.seen) < 2:
            await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await client.close()

    assert route.control_topic is not None
    ((value, at_ms),) = await read_all(connection, route.control_topic)
    control = parse_control_record(value)
    assert (control.route, control.custom_id) == (route.name, service.seen[1]["custom_id"])
    requests = await read_all(connection, route.requests_topic)
    assert at_ms >= max(sent_ms for _value, sent_ms in requests)


async def test_a_call_that_ran_out_of_time_publishes_no_cancellation(
    client: AsyncHeadrace, connection: Connection, route: Route
) -> None:
    with pytest.raises(ResultTimeoutError):
        await client.embed(["a"], timeout_s=0.5)
    await client.close()

    assert route.control_topic is not None
    assert await read_all(connection, route.control_topic) == []


async def test_in_flight_is_bounded(
    arguments: dict[str, Any], connection: Connection, route: Route
) -> None:
    async with AsyncHeadrace(**arguments, max_in_flight_requests=7) as client:
        calls = [asyncio.create_task(client.embed(["a"])) for _ in range(50)]
        await asyncio.sleep(2.0)
        assert len(await read_all(connection, route.requests_topic)) == 7

        async with running(connection.bootstrap, route, AnsweringService(answer)):
            await asyncio.gather(*calls)

    assert len(await read_all(connection, route.requests_topic)) == 50


async def test_a_closed_client_fails_what_waits(client: AsyncHeadrace) -> None:
    waiting = asyncio.create_task(client.embed(["a"]))
    await asyncio.sleep(1.0)
    await client.close()

    with pytest.raises(ClosedError):
        await waiting
    with pytest.raises(ClosedError):
        await client.embed(["a"])


async def test_a_missing_topic_is_named(arguments: dict[str, Any], connection: Connection) -> None:
    async with AsyncHeadrace(**{**arguments, "requests_topic": "no-such-topic"}) as client:
        with pytest.raises(MissingTopicError, match="there is no topic no-such-topic"):
            await client.embed(["a"])
    async with TopicAdmin(connection) as admin:
        assert await admin.describe(["no-such-topic"]) == {"no-such-topic": None}


async def test_a_reply_topic_has_this_clients_results_alone(
    arguments: dict[str, Any], connection: Connection, route: Route, service: AnsweringService
) -> None:
    mine = f"{route.name}.mine"
    async with TopicAdmin(connection) as admin:
        await admin.create(mine, TopicInfo(1, 1))
    async with AsyncHeadrace(**arguments, reply_topic=mine, tenant="t") as client:
        await client.embed(["a"])

    assert dict(service.seen_headers[0])["headrace-reply-topic"] == mine.encode()
    assert dict(service.seen_headers[0])["headrace-tenant"] == b"t"
    assert len(await read_all(connection, mine)) == 1
    assert await read_all(connection, route.results_topic) == []


async def test_a_route_without_failed_results_is_heard_through_its_dead_letters(
    connection: Connection, route: Route
) -> None:
    dead_letters = f"{route.name}.dead-letters"
    async with TopicAdmin(connection) as admin:
        await admin.create(dead_letters, TopicInfo(1, 1))
    settings = {
        "kafka": {"bootstrap": connection.bootstrap},
        "routes": {
            route.name: {
                "requests_topic": route.requests_topic,
                "results_topic": route.results_topic,
                "dead_letters_topic": dead_letters,
                "fail_with_result": False,
            }
        },
    }
    async with (
        AsyncHeadrace(settings=parse_settings(settings, {})) as client,
        TopicReader(connection, route.requests_topic) as reader,
        RequestPublisher(connection, dead_letters) as publisher,
    ):
        await reader.assign_ends()
        call = asyncio.create_task(client.embed(["a"]))
        requests: list[TopicRecord] = []
        while not requests:
            requests = await reader.read(0.5)
        source = f"{route.requests_topic}/{requests[0].partition}/{requests[0].offset}"
        await publisher.publish(
            requests[0].value,
            headers=(
                ("headrace-error-code", b"model_failed"),
                ("headrace-error-message", b"out of memory"),
                ("headrace-source", source.encode()),
            ),
        )
        with pytest.raises(RequestFailedError, match="model_failed: out of memory"):
            await call
