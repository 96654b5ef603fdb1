"""A job's lines have one result each, within a window."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from headrace_client import AsyncHeadrace, Connection, Route
from headrace_client.kafka.publishing import RequestPublisher
from headrace_client.kafka.reading import TopicReader
from schemas.wire.control import parse_control_record
from schemas.wire.results import encode_response_line
from tests.integration.client.answering_service import AnsweringService, running
from tests.integration.client.model_answers import BROKEN, answer
from tests.waiting import within

pytestmark = pytest.mark.kafka


def line(text: str, **more: Any) -> dict[str, Any]:
    return {"url": "/v1/embeddings", "body": {"input": [text]}, **more}


async def count(connection: Connection, topic: str) -> int:
    async with TopicReader(connection, topic) as reader:
        return sum(each.end for each in (await reader.bounds()).values())


async def test_every_line_has_one_result(
    arguments: dict[str, Any], connection: Connection, route: Route
) -> None:
    async def lines() -> AsyncIterator[Any]:
        for number in range(500):
            yield line("x" * (1 + number), custom_id=f"row-{number}")
        yield b"no json"
        yield line(BROKEN)
        yield line("y" * 2_000_000, custom_id="large")

    service = AnsweringService(answer, times=2)
    async with (
        running(connection.bootstrap, route, service),
        AsyncHeadrace(**arguments, max_in_flight_requests=50) as client,
    ):
        job = await client.submit(lines(), job="nightly", deadline=timedelta(minutes=5))
        results = [result async for result in job.results()]
        progress = job.progress()

    assert sorted(each.custom_id for each in results if each.is_ok) == sorted(
        f"row-{number}" for number in range(500)
    )
    failed = {each.custom_id: each.error_code for each in results if not each.is_ok}
    assert failed == {
        "nightly-501": "not_sent",
        "nightly-502": "model_failed",
        "large": "not_sent",
    }
    assert progress.is_done
    assert (progress.read_lines, progress.failed_requests) == (503, 3)
    headers = dict(service.seen_headers[0])
    assert headers["headrace-job"] == b"nightly"
    assert "headrace-deadline" in headers


async def test_without_a_reader_nothing_more_is_sent(
    arguments: dict[str, Any], connection: Connection, route: Route
) -> None:
    async with (
        running(connection.bootstrap, route, AnsweringService(answer)),
        AsyncHeadrace(**arguments, max_in_flight_requests=10) as client,
    ):
        job = await client.submit((line("x") for _ in range(100)), job="slow")
        await asyncio.sleep(2.0)
        assert await count(connection, route.requests_topic) == 10

        assert len([result async for result in job.results()]) == 100


async def test_a_cancelled_job_sends_nothing_more_and_is_cancelled(
    arguments: dict[str, Any], connection: Connection, route: Route
) -> None:
    async with AsyncHeadrace(**arguments, max_in_flight_requests=10) as client:
        job = await client.submit((line("x") for _ in range(100)), job="unwanted")
        async with within("ten requests"):
            while await count(connection, route.requests_topic) < 10:
                await asyncio.sleep(0.1)
        await job.cancel()
        assert "no members" in await job.waits_for()
        async with running(connection.bootstrap, route, AnsweringService(answer)):
            codes = [result.error_code async for result in job.results()]
        # The line that waited for its turn was taken from the input.
        assert sorted(codes, key=str) == [*[None] * 10, "not_sent"]
        assert job.progress().read_lines == 11

    assert route.control_topic is not None
    async with TopicReader(connection, route.control_topic) as reader:
        records = [record async for part in reader.scan({}) for record in part]
    assert parse_control_record(records[0].value).job == "unwanted"


async def test_a_result_of_an_earlier_run_of_the_same_name_is_passed_over(
    arguments: dict[str, Any], connection: Connection, route: Route
) -> None:
    async with (
        AsyncHeadrace(**arguments) as client,
        RequestPublisher(connection, route.results_topic) as results,
    ):
        job = await client.submit([line("xxx", custom_id="row-1")], job="again")
        stale = encode_response_line(f"{route.requests_topic}-0-999", "row-1", 200, b"{}")
        await results.publish(stale, headers=(("headrace-job", b"again"),))
        async with running(connection.bootstrap, route, AnsweringService(answer)):
            (result,) = [result async for result in job.results()]

    assert result.body["data"]


async def test_an_error_of_the_input_ends_the_job(arguments: dict[str, Any]) -> None:
    def lines() -> Any:
        yield line("x")
        raise OSError("disk gone")

    async with AsyncHeadrace(**arguments) as client:
        job = await client.submit(lines(), job="broken")
        with pytest.raises(OSError, match="disk gone"):
            [result async for result in job.results()]
