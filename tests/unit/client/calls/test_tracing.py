"""A call inside a span sends its context; without one, nothing."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from headrace_client.calls.caller import Caller
from headrace_client.calls.loop_thread import LoopThread
from headrace_client.calls.options import ClientOptions
from headrace_client.calls.sender import Sender
from headrace_client.calls.tracing import trace_headers
from headrace_client.wire.names import Headers, Place

PARENT = b"00-" + b"0" * 31 + b"1-" + b"0" * 15 + b"2-01"


@contextmanager
def inside_a_span() -> Iterator[None]:
    context = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    with trace.use_span(NonRecordingSpan(context)):
        yield


class Publisher:
    def __init__(self) -> None:
        self.headers: list[Headers] = []

    def publish(self, value: bytes, *, headers: Headers) -> "asyncio.Future[Place]":
        self.headers.append(headers)
        future: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        future.set_result(Place("rq", 0, 0))
        return future


class OfflineCaller(Caller):
    def __init__(self, **options: Any) -> None:
        given = {"requests_topic": "rq", "results_topic": "rs"} | options
        super().__init__(ClientOptions.of(given))
        self.publisher = Publisher()

    async def open(self, route: Any) -> Any:
        return self.publisher

    async def explain(self, route: Any, call: Any = None) -> str:
        return ""


async def headers_of_a_call(**options: Any) -> Headers:
    caller = OfflineCaller(**options)
    sending = asyncio.create_task(Sender(caller).request("/v1/embeddings", {}, None, None))
    while not caller.publisher.headers:
        await asyncio.sleep(0)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    await caller.close()
    return caller.publisher.headers[0]


async def test_a_call_continues_the_callers_trace() -> None:
    with inside_a_span():
        assert await headers_of_a_call() == (("traceparent", PARENT),)


async def test_it_counts_before_a_clients_own_header() -> None:
    with inside_a_span():
        headers = await headers_of_a_call(headers={"traceparent": "mine", "other": "1"})

    assert headers == (("traceparent", b"mine"), ("other", b"1"), ("traceparent", PARENT))


async def test_without_a_span_a_call_sends_none() -> None:
    assert await headers_of_a_call() == ()


def test_a_blocking_client_continues_the_trace_of_the_thread_that_calls() -> None:
    async def close() -> None:
        """Close nothing."""

    async def found() -> Headers:
        return trace_headers()

    thread = LoopThread(close)
    try:
        with inside_a_span():
            assert thread.run(found()) == (("traceparent", PARENT),)
        assert thread.run(found()) == ()
    finally:
        thread.close()


@pytest.mark.parametrize("propagator", ["none", "b3"])
async def test_the_programs_own_propagator_writes_the_headers(
    propagator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry import propagate  # noqa: PLC0415 - patched here alone

    def inject(carrier: dict[str, str]) -> None:
        if propagator != "none":
            carrier[propagator] = "1-2-1"

    monkeypatch.setattr(propagate, "inject", inject)
    with inside_a_span():
        headers = await headers_of_a_call()

    assert headers == (() if propagator == "none" else (("b3", b"1-2-1"),))
