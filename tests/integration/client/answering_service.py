"""A service in the test's own process: one consumer, which answers as told by the schemas' code."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from consumer.kafka.client import internals
from headrace_client import Route
from headrace_client.kafka.producing import stop_producer
from schemas.wire import headers
from schemas.wire.headers import Header
from schemas.wire.results import ErrorCode, encode_error_line, encode_response_line, result_id

_STOP_S = 5.0


class Refusal(NamedTuple):
    status_code: int
    body: dict[str, Any]


class Failure(NamedTuple):
    code: ErrorCode
    message: str


Answer = dict[str, Any] | Refusal | Failure | None


@dataclass
class AnsweringService:
    """What ``answer`` returns becomes the result; ``None`` leaves a request without one.

    ``times`` says how often each result is published.
    """

    answer: Callable[[str, dict[str, Any]], Answer]
    times: int = 1
    seen: list[dict[str, Any]] = field(default_factory=list)
    seen_headers: list[list[Header]] = field(default_factory=list)


@contextlib.asynccontextmanager
async def running(bootstrap: str, route: Route, service: AnsweringService) -> AsyncIterator[None]:
    consumer = AIOKafkaConsumer(
        route.requests_topic,
        bootstrap_servers=bootstrap,
        group_id=route.group,
        auto_offset_reset="earliest",
        enable_auto_commit=True,
        auto_commit_interval_ms=100,
        metadata_max_age_ms=1_000,
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await consumer.start()
    await producer.start()
    task = asyncio.create_task(_serve(consumer, producer, route, service))
    task.add_done_callback(partial(_end_with_it, asyncio.current_task()))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=_STOP_S)
        await _leave(consumer)
        await stop_producer(producer, _STOP_S)
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _end_with_it(waiting: "asyncio.Task[Any] | None", task: "asyncio.Task[None]") -> None:
    """Whoever waits for answers would wait for ever."""
    if waiting is not None and not task.cancelled() and task.exception() is not None:
        waiting.cancel("the service has ended")


async def _leave(consumer: AIOKafkaConsumer) -> None:
    """Stop; a consumer that lost its coordinator tries its last commit for ever."""
    try:
        async with asyncio.timeout(_STOP_S):
            await consumer.stop()
    except TimeoutError:
        await internals.abandon(consumer)


async def _serve(
    consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, route: Route, service: AnsweringService
) -> None:
    async for record in consumer:
        line = orjson.loads(record.value)
        service.seen.append(line)
        service.seen_headers.append(list(record.headers))
        answer = service.answer(line["url"], line.get("body") or {})
        if answer is None:
            continue
        line_id = result_id(record.topic, record.partition, record.offset)
        value = encode(line_id, line["custom_id"], answer)
        topic = dict(record.headers).get("headrace-reply-topic", b"").decode()
        for _time in range(service.times):
            await producer.send(
                topic or route.results_topic, value, headers=headers.echo(record.headers)
            )


def encode(line_id: str, custom_id: str, answer: dict[str, Any] | Refusal | Failure) -> bytes:
    if isinstance(answer, Failure):
        return encode_error_line(line_id, custom_id, answer.code, answer.message)
    if isinstance(answer, Refusal):
        return encode_response_line(
            line_id, custom_id, answer.status_code, orjson.dumps(answer.body)
        )
    return encode_response_line(line_id, custom_id, 200, orjson.dumps(answer))
