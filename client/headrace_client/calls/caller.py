"""Sends one request and waits for its result: the core of every client."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from headrace_client import clock
from headrace_client.calls.links import Links
from headrace_client.calls.options import ClientOptions
from headrace_client.calls.pending import Call, Pending
from headrace_client.calls.silence import SharedAnswer, Silence
from headrace_client.calls.window import Gate
from headrace_client.errors import ClientError, ClosedError, ResultTimeoutError, SettingsError
from headrace_client.kafka.publishing import RequestPublisher
from headrace_client.kafka.standing import explain_silence
from headrace_client.routes import Route
from headrace_client.wire.names import Headers, Place
from headrace_client.wire.requests import (
    ControlRecord,
    cancel_request,
    encode_request,
    request_headers,
)
from headrace_client.wire.results import Result

log = logging.getLogger(__name__)

_LOOK_S = 1.0
_MOST_ROUTES_ASKED = 1_000
_CLOSING_S = 5.0
"""How long cancellations may take that are under way when a client closes."""


class TimeLimit(NamedTuple):
    """When a call ends: in seconds from its start, by the loop's clock, and as its deadline."""

    timeout_s: float | None
    at_s: float | None
    deadline_ms: int | None


class Caller:
    """Requests in flight, within bounds; opens Kafka with the first request.

    Args:
        options: See ``ClientOptions``.
        epoch_ms: The clock of deadlines.
    """

    def __init__(
        self, options: ClientOptions, epoch_ms: Callable[[], int] = clock.epoch_ms
    ) -> None:
        self.options = options
        self.settings = options.load()
        self.pending = Pending(f"c-{secrets.token_hex(6)}-")
        self._epoch_ms = epoch_ms
        self._slots = Gate(options.max_in_flight_requests, "max_in_flight_requests")
        self._bytes = Gate(options.max_in_flight_bytes, "max_in_flight_bytes")
        self._routes: dict[tuple[str | None, str | None, str | None], Route] = {}
        self._links: Links | None = None
        self._silence = Silence()
        self._answers = SharedAnswer()
        self._background: set[asyncio.Task[None]] = set()
        self._endless: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self._headers = self.make_headers(None)

    def limit(self, timeout_s: float | None) -> TimeLimit:
        """Return when a call that starts now ends; without ``timeout_s`` the client's counts."""
        timeout_s = self.options.timeout_s if timeout_s is None else timeout_s
        if timeout_s is None:
            return TimeLimit(None, None, None)
        if timeout_s <= 0:
            raise SettingsError(f"timeout_s: must be above 0, not {timeout_s}")
        at_s = asyncio.get_running_loop().time() + timeout_s
        return TimeLimit(timeout_s, at_s, self._epoch_ms() + int(timeout_s * 1000))

    def limit_at(self, deadline: datetime | timedelta | None) -> TimeLimit:
        if deadline is None:
            return TimeLimit(None, None, None)
        if isinstance(deadline, datetime):
            if deadline.tzinfo is None:
                raise SettingsError("deadline: give a datetime with a time zone, or a timedelta")
            left_s = deadline.timestamp() - self._epoch_ms() / 1000
        else:
            left_s = deadline.total_seconds()
        if left_s <= 0:
            raise SettingsError(f"deadline: it passed {-left_s:g} s ago")
        return self.limit(left_s)

    def find_route(self, url: str | None, route: str | None, model: str | None) -> Route:
        asked = url, route, model
        found = self._routes.get(asked)
        if found is None:
            if self.options.requests_topic is None:
                route = route or self.options.route
            found = self.settings.routes.find(url, route=route, model=model)
            if len(self._routes) < _MOST_ROUTES_ASKED:
                self._routes[asked] = found
        return found

    def send(
        self, url: str, body: Mapping[str, Any], route: Route, limit: TimeLimit
    ) -> Coroutine[Any, Any, Result]:
        """Publish a request and return its result, whatever it is.

        Raises ``DeliveryError``, ``KafkaError``, ``ResultTimeoutError``, ``ClosedError``. A caller
        that is cancelled cancels the request.
        """
        call = Call(route.requests_topic, asyncio.get_running_loop().create_future())
        # Thousands of calls wait at a time: each level of coroutines counts.
        if limit.at_s is None:
            return self._send(url, body, route, limit, call)
        return self._send_in_time(url, body, route, limit, call)

    async def _send_in_time(
        self, url: str, body: Mapping[str, Any], route: Route, limit: TimeLimit, call: Call
    ) -> Result:
        try:
            async with asyncio.timeout_at(limit.at_s):
                return await self._send(url, body, route, limit, call)
        except TimeoutError:
            said = await self.explain(route, call)
            raise ResultTimeoutError(
                f"no result of {url} within {limit.timeout_s:g} s: {said}"
            ) from None

    async def _send(
        self, url: str, body: Mapping[str, Any], route: Route, limit: TimeLimit, call: Call
    ) -> Result:
        publisher = self._opened(route) or await self.open(route)
        if not self._slots.try_acquire():
            await self._slots.acquire()
        size_bytes = 0
        try:
            custom_id = self.pending.next_custom_id()
            value = encode_request(custom_id, url, body)
            if not self._bytes.try_acquire(len(value)):
                await self._bytes.acquire(len(value))
            size_bytes = len(value)
            headers = self._headers
            if limit.deadline_ms is not None:
                headers = self.make_headers(limit.deadline_ms)
            self.pending.add(custom_id, call)
            delivered = publisher.publish(value, headers=headers)
            delivered.add_done_callback(call.delivered)
            try:
                return await call.answer
            except asyncio.CancelledError:
                # A deadline ends the request by itself.
                is_late = limit.at_s is not None and _now_s() >= limit.at_s
                if not is_late and not self._is_closed:
                    self._cancel_later(route, custom_id, delivered)
                raise
            finally:
                self.pending.discard(custom_id)
        finally:
            self._slots.release()
            if size_bytes:
                self._bytes.release(size_bytes)

    def _opened(self, route: Route) -> RequestPublisher | None:
        if self._links is None or self._is_closed:
            return None
        return self._links.opened(route, self.results_topic_of(route))

    def results_topic_of(self, route: Route) -> str:
        return self.options.reply_topic or route.results_topic

    async def open(self, route: Route) -> RequestPublisher:
        """Open what a route needs, results first; raises ``KafkaError`` and ``ClosedError``."""
        if self._is_closed:
            raise ClosedError("the client is closed: make a new one")
        results_topic = self.results_topic_of(route)
        if self._links is None:
            self._links = Links(
                self.settings.connection,
                self.settings.results_connection,
                on_record=self.pending.offer,
                on_failure=self.pending.fail_all,
            )
            self.in_background(self._watch(), waits_for_it=False)
        return self._links.opened(route, results_topic) or await self._links.open(
            route, results_topic
        )

    async def publish_control(self, route: Route, control: ControlRecord) -> None:
        """Publish a control record; raises ``ClientError`` if the route has no control topic."""
        if route.control_topic is None or self._links is None:
            raise ClientError(
                f"route {route.name} has no control topic, so that nothing can be cancelled: set "
                f"routes.{route.name}.control_topic, or give control_topic="
            )
        publisher = await self._links.publisher(route.control_topic)
        await publisher.publish(control.value, key=control.key)

    async def explain(self, route: Route, call: Call | None = None) -> str:
        """Return what stands between a route's open requests and their results."""
        places, unacknowledged = self.pending.places(route.requests_topic)
        if call is not None and call.place is not None:
            places.append(call.place)
        elif call is not None:
            unacknowledged += 1

        async def ask() -> str:
            return await explain_silence(
                self.settings.connection,
                route,
                places,
                unacknowledged=unacknowledged,
                results_topic=self.results_topic_of(route),
            )

        return await self._answers.get(route.requests_topic, ask)

    async def close(self) -> None:
        """Close; calls that wait fail with ``ClosedError``. Their requests are not cancelled."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._background:
            await asyncio.wait(self._background, timeout=_CLOSING_S)
        self.pending.fail_all(ClosedError("the client was closed before the result arrived"))
        tasks = {*self._background, *self._endless} - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._answers.close()
        if self._links is not None:
            await self._links.close()

    def in_background(
        self, work: Coroutine[Any, Any, None], *, waits_for_it: bool = True
    ) -> asyncio.Task[None]:
        """Run a task that ends with the client; ``close`` waits for it a while, or ends it."""
        task = asyncio.create_task(work)
        tasks = self._background if waits_for_it else self._endless
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    def make_headers(self, deadline_ms: int | None, job: str | None = None) -> Headers:
        options = self.options
        return request_headers(
            deadline_ms=deadline_ms,
            job=job,
            tenant=options.tenant,
            priority=options.priority,
            reply_topic=options.reply_topic,
            more=options.headers,
        )

    def _cancel_later(
        self, route: Route, custom_id: str, delivered: "asyncio.Future[Place]"
    ) -> None:
        if route.control_topic is not None:
            self.in_background(self._cancel(route, custom_id, delivered))

    async def _cancel(
        self, route: Route, custom_id: str, delivered: "asyncio.Future[Place]"
    ) -> None:
        try:
            # The control record must not be earlier than the request.
            await delivered
            await self.publish_control(route, cancel_request(route.name, custom_id))
        except ClientError as error:
            log.warning(
                "request %s was not cancelled: %s",
                custom_id,
                error,
                extra={
                    "event": "request_not_cancelled",
                    "custom_id": custom_id,
                    "error_class": type(error).__name__,
                },
            )

    async def _watch(self) -> None:
        try:
            await self._say_what_is_waited_for()
        except asyncio.CancelledError:
            # A loop that ends cancels every task, and scripts for openai's client close nothing.
            await self.close()
            raise

    async def _say_what_is_waited_for(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LOOK_S)
            pending = self.pending
            if not self._silence.is_due(
                loop.time(), pending.open_requests, pending.answered_requests
            ):
                continue
            for route in self.settings.routes.values():
                places, unacknowledged = pending.places(route.requests_topic)
                if places or unacknowledged:
                    with suppress(ClientError):
                        said = await self.explain(route)
                        log.warning(
                            "no result for %.0f s, of %d open requests: %s",
                            self._silence.silent_s(loop.time()),
                            len(places) + unacknowledged,
                            said,
                            extra={
                                "event": "results_awaited",
                                "requests": len(places) + unacknowledged,
                            },
                        )


def _now_s() -> float:
    return asyncio.get_running_loop().time()
