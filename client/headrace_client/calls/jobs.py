"""A job: many request lines published as they are, and their results as they come.

Bounded: what is in flight, and what waits to be read, is at most the client's window; without a
reader nothing more is sent. The job's state is in this process only: the bulk command's jobs go on
after a crash.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from headrace_client.calls.caller import Caller
from headrace_client.calls.window import Gate
from headrace_client.errors import (
    BadLineError,
    ClientError,
    DeliveryError,
    SettingsError,
    UnreadableResultError,
)
from headrace_client.kafka.publishing import UNKNOWN_OFFSET, RequestPublisher
from headrace_client.routes import Route
from headrace_client.wire.names import MAX_JOB_CHARACTERS, REQUEST_EXPIRED, Headers, Place
from headrace_client.wire.requests import RequestLine, cancel_job, read_request
from headrace_client.wire.results import Result

NOT_SENT = "not_sent"
"""The error code of a line that was never published: it is no request, or the topic refuses it."""

_AFTER_DEADLINE_S = 30.0
"""How long after the deadline the service may take to say that it passed."""


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a job is.

    Attributes:
        read_lines: Lines that were taken from the input.
        answered_requests: Results that came, failed ones included.
        failed_requests: Those that are no answer: 4xx, errors, lines that were not sent.
        in_flight_requests: Published or about to be, without a result.
        input_ended: Whether all lines were taken.
    """

    read_lines: int
    answered_requests: int
    failed_requests: int
    in_flight_requests: int
    input_ended: bool

    @property
    def is_done(self) -> bool:
        return self.input_ended and self.in_flight_requests == 0


class _Line:
    """A line in flight, and results that came before its place was known."""

    __slots__ = ("early", "place", "size_bytes")

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.place: Place | None = None
        self.early: list[Result] = []


class SubmittedJob:
    """See ``AsyncHeadrace.submit``."""

    def __init__(
        self,
        caller: Caller,
        name: str,
        route: Route,
        lines: Iterable[Any] | AsyncIterable[Any],
        deadline: datetime | timedelta | None,
    ) -> None:
        if not 0 < len(name) <= MAX_JOB_CHARACTERS:
            raise SettingsError(f"job: a name has 1 to {MAX_JOB_CHARACTERS} characters")
        self.name = name
        self.route = route
        self.answered_requests = 0
        self._caller = caller
        self._lines = lines
        limit = caller.limit_at(deadline)
        self._ends_at_s = None if limit.at_s is None else limit.at_s + _AFTER_DEADLINE_S
        self._headers: Headers = caller.make_headers(limit.deadline_ms, job=name)
        self._slots = Gate(caller.options.max_in_flight_requests, "max_in_flight_requests")
        self._bytes = Gate(caller.options.max_in_flight_bytes, "max_in_flight_bytes")
        self._in_flight: dict[str, _Line] = {}
        self._ready: list[tuple[Result, int]] = []
        self._changed = asyncio.Event()
        self._read_lines = 0
        self._failed_requests = 0
        self._input_ended = False
        self._failure: BaseException | None = None
        self._sending: asyncio.Task[None] | None = None

    async def start(self) -> None:
        publisher = await self._caller.open(self.route)
        self._caller.pending.add_job(self.name, self)
        self._sending = self._caller.in_background(self._send(publisher), waits_for_it=False)

    def progress(self) -> JobProgress:
        return JobProgress(
            self._read_lines,
            self.answered_requests,
            self._failed_requests,
            len(self._in_flight),
            self._input_ended,
        )

    async def waits_for(self) -> str:
        """Say what stands between the requests in flight and their results."""
        return await self._caller.explain(self.route)

    async def results(self) -> AsyncIterator[Result]:
        """Yield each line's result once, in any order, until all lines have theirs.

        A line that could not be sent has the error code ``not_sent``. Raises ``KafkaError`` if the
        cluster refuses to go on, and what the input itself raised.
        """
        while results := await self.next_results():
            for result in results:
                yield result

    async def next_results(self) -> list[Result]:
        """Return the results that wait, at least one; none once all lines have theirs."""
        while not self._ready:
            if self._failure is not None:
                self._caller.pending.discard_job(self.name)
                raise self._failure
            if self._input_ended and not self._in_flight:
                self._caller.pending.discard_job(self.name)
                return []
            await self._wait()
        ready, self._ready = self._ready, []
        for _result, size_bytes in ready:
            self._slots.release()
            self._bytes.release(size_bytes)
        return [result for result, _size_bytes in ready]

    async def cancel(self) -> None:
        """Send nothing more, and have the service cancel what waits.

        The requests in flight still have a result each, mostly with the code
        ``request_cancelled``. Raises ``ClientError`` if the route has no control topic.
        """
        await self._stop_sending()
        if self._in_flight:
            await self._caller.publish_control(self.route, cancel_job(self.route.name, self.name))

    async def _stop_sending(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([self._sending])
        self._input_ended = True
        self._changed.set()

    async def _wait(self) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout_at(self._ends_at_s):
                await self._changed.wait()
        except TimeoutError:
            said = await self.waits_for()
            await self._stop_sending()
            for custom_id in list(self._in_flight):
                self._fail_line(
                    custom_id,
                    REQUEST_EXPIRED,
                    f"no result {_AFTER_DEADLINE_S:g} s after the deadline: {said}",
                )

    async def _send(self, publisher: RequestPublisher) -> None:
        try:
            async for line in _one_by_one(self._lines):
                self._read_lines += 1
                try:
                    await self._slots.acquire()
                    await self._send_line(publisher, line, self._read_lines)
                except asyncio.CancelledError:
                    self._drop(line, self._read_lines)
                    raise
        except Exception as error:  # noqa: BLE001 - results() raises it
            self._failure = error
        self._input_ended = True
        self._changed.set()

    async def _send_line(self, publisher: RequestPublisher, line: Any, number: int) -> None:
        default_id = f"{self.name}-{number}"
        try:
            request = read_request(line, number, default_id)
        except BadLineError as error:
            self._settle(_not_sent(default_id, str(error)), 0)
            return
        if request.custom_id in self._in_flight:
            said = f"line {number}: custom_id {request.custom_id} is in flight already; change it"
            self._settle(_not_sent(request.custom_id, said), 0)
            return
        await self._bytes.acquire(len(request.value))
        self._in_flight[request.custom_id] = _Line(len(request.value))
        delivered = publisher.publish(request.value, headers=self._headers)
        delivered.add_done_callback(lambda done: self._delivered(request, done))

    def _drop(self, line: Any, number: int) -> None:
        """Give a line an outcome that was taken and is not sent, as the job is at its end."""
        custom_id = f"{self.name}-{number}"
        with contextlib.suppress(BadLineError):
            custom_id = read_request(line, number, custom_id).custom_id
        self._settle(_not_sent(custom_id, "the job was cancelled, or its deadline passed"), 0)

    def _delivered(self, request: RequestLine, done: "asyncio.Future[Place]") -> None:
        line = self._in_flight.get(request.custom_id)
        if line is None or done.cancelled():
            return
        error = done.exception()
        if isinstance(error, DeliveryError):
            self._fail_line(request.custom_id, NOT_SENT, str(error))
        elif error is not None:
            self._failure = self._failure or error
            self._changed.set()
        else:
            line.place = done.result()
            for result in line.early:
                self.take(result)

    def take(self, result: Result) -> None:
        """Take a record with the job's name; a repeat, or an earlier run's result, is none."""
        line = self._in_flight.get(result.custom_id)
        if line is None:
            return
        if line.place is None:
            line.early.append(result)
        elif _is_of(result, line.place):
            del self._in_flight[result.custom_id]
            self.answered_requests += 1
            self._settle(result, line.size_bytes)

    def fail(self, error: ClientError) -> None:
        self._failure = self._failure or error
        self._changed.set()

    def places(self, requests_topic: str) -> tuple[list[Place], int]:
        if requests_topic != self.route.requests_topic:
            return [], 0
        places = [line.place for line in self._in_flight.values() if line.place is not None]
        return places, len(self._in_flight) - len(places)

    @property
    def open_requests(self) -> int:
        return len(self._in_flight)

    def _fail_line(self, custom_id: str, code: str, message: str) -> None:
        line = self._in_flight.pop(custom_id)
        self._settle(Result("", custom_id, None, {}, None, code, message), line.size_bytes)

    def _settle(self, result: Result, size_bytes: int) -> None:
        if not result.is_ok:
            self._failed_requests += 1
        self._ready.append((result, size_bytes))
        self._changed.set()


def _is_of(result: Result, place: Place) -> bool:
    try:
        source = result.source
    except UnreadableResultError:
        return False
    if place.offset == UNKNOWN_OFFSET:
        return source[:2] == place[:2]
    return source == place


def _not_sent(custom_id: str, message: str) -> Result:
    return Result("", custom_id, None, {}, None, NOT_SENT, message)


async def _one_by_one(lines: Iterable[Any] | AsyncIterable[Any]) -> AsyncIterator[Any]:
    if isinstance(lines, AsyncIterable):
        async for line in lines:
            yield line
    else:
        for line in lines:
            yield line
