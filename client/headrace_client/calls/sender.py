"""Sends a request, or a long list of inputs in several, and raises what is no answer."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from headrace_client.calls.caller import Caller
from headrace_client.calls.splitting import cut
from headrace_client.calls.stored_bodies import fetch_body
from headrace_client.errors import DeliveryError, RequestError, SettingsError
from headrace_client.wire import names
from headrace_client.wire.results import Result

_PARTS_AT_ONCE = 256
"""Requests of one long list that are prepared at a time; the window bounds them further."""

Part = tuple[int, dict[str, Any]]
T = TypeVar("T")


class Sender:
    """See ``AsyncHeadrace`` for what its methods raise."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def request(
        self, url: str, body: Mapping[str, Any], route: str | None, timeout_s: float | None
    ) -> Result:
        limit = self._caller.limit(timeout_s)
        if body.get("stream"):
            raise SettingsError("stream: results come whole through Kafka; leave it out")
        found = self._caller.find_route(url, route, body.get("model"))
        result = await self._caller.send(url, body, found, limit)
        return result if result.is_ok and result.body_ref is None else await _checked(result)

    async def in_parts(
        self,
        url: str,
        body: dict[str, Any],
        field: str,
        inputs: list[Any],
        route_name: str | None,
        timeout_s: float | None,
    ) -> list[Part]:
        """Send inputs in as many requests as they need.

        Returns the bodies in order, and where each begins.
        """
        limit = self._caller.limit(timeout_s)
        route = self._caller.find_route(url, route_name, body.get("model"))
        ranges = list(cut(inputs, self._caller.options.inputs_per_request)) or [(0, 0)]

        async def send(first: int, end: int) -> list[Part]:
            try:
                part = {**body, field: inputs[first:end]}
                result = await _checked(await self._caller.send(url, part, route, limit))
            except (RequestError, DeliveryError) as error:
                if end - first < 2 or not _is_too_large(error):
                    raise
            else:
                return [(first, result.body)]
            middle = (first + end) // 2
            return await send(first, middle) + await send(middle, end)

        parts = await _all_of([partial(send, *each) for each in ranges], _PARTS_AT_ONCE)
        return [part for group in parts for part in group]


async def _checked(result: Result) -> Result:
    """Return a result with its body; raises what a result says that is no answer."""
    if result.body_ref is not None:
        result = replace(result, body=await fetch_body(result.body_ref))
    error = result.to_error()
    if error is not None:
        raise error
    return result


async def _all_of(calls: Sequence[Callable[[], Awaitable[T]]], at_once: int) -> list[T]:
    """Return all results in order, so many at a time; the first error cancels the others."""
    if len(calls) == 1:
        return [await calls[0]()]
    tasks: list[asyncio.Task[T]] = []
    running: set[asyncio.Task[T]] = set()
    try:
        for call in calls:
            if len(running) >= at_once:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            task = asyncio.ensure_future(call())
            tasks.append(task)
            running.add(task)
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _is_too_large(error: RequestError | DeliveryError) -> bool:
    if isinstance(error, DeliveryError):
        return error.is_too_large
    return error.code == names.RESULT_TOO_LARGE
