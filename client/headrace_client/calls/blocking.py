"""``Headrace``: the same calls without asyncio; threads may share a client."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from datetime import datetime, timedelta
from functools import wraps
from itertools import islice
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, Unpack, cast

from headrace_client.calls.client import AsyncHeadrace
from headrace_client.calls.jobs import JobProgress, SubmittedJob
from headrace_client.calls.loop_thread import LoopThread
from headrace_client.calls.options import Options
from headrace_client.wire.results import Result

P = ParamSpec("P")
T = TypeVar("T")

_LINES_AT_ONCE = 256


def _blocking(
    method: Callable[Concatenate[AsyncHeadrace, P], Coroutine[Any, Any, T]],
) -> "Callable[Concatenate[Headrace, P], T]":
    @wraps(method)
    def call(self: "Headrace", *args: P.args, **kwargs: P.kwargs) -> T:
        return self.run(method(self.asynchronous, *args, **kwargs))

    return cast("Callable[Concatenate[Headrace, P], T]", call)


class Headrace:
    """A client of a running service; see ``AsyncHeadrace`` for its arguments and errors.

    Its work is done in a thread of its own. Several threads may call it at once. Close it with
    ``with`` or ``close()``; one that is dropped, or left when the interpreter ends, closes itself.
    """

    def __init__(
        self, config: str | os.PathLike[str] | None = None, /, **options: Unpack[Options]
    ) -> None:
        self.asynchronous = AsyncHeadrace(config, **options)
        self._thread = LoopThread(self.asynchronous.close)

    open = _blocking(AsyncHeadrace.open)
    request = _blocking(AsyncHeadrace.request)
    embed = _blocking(AsyncHeadrace.embed)
    classify = _blocking(AsyncHeadrace.classify)
    rerank = _blocking(AsyncHeadrace.rerank)
    score = _blocking(AsyncHeadrace.score)
    chat = _blocking(AsyncHeadrace.chat)
    complete = _blocking(AsyncHeadrace.complete)

    def submit(
        self,
        lines: Iterable[Any],
        *,
        job: str,
        route: str | None = None,
        deadline: datetime | timedelta | None = None,
    ) -> "BlockingJob":
        """Publish request lines as a job; see ``AsyncHeadrace.submit``."""
        started = self.asynchronous.submit(
            _in_a_thread(lines), job=job, route=route, deadline=deadline
        )
        return BlockingJob(self.run(started), self)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of ``asynchronous`` in the client's thread, and return its result."""
        return self._thread.run(work)

    def close(self) -> None:
        """Close; calls that wait in other threads raise ``ClosedError``."""
        self._thread.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()


class BlockingJob:
    """A ``SubmittedJob`` without asyncio."""

    def __init__(self, job: SubmittedJob, client: Headrace) -> None:
        self._job = job
        self._client = client
        self.name = job.name

    def results(self) -> Iterator[Result]:
        """Yield each line's result once, in any order, until all lines have theirs."""
        while results := self._client.run(self._job.next_results()):
            yield from results

    def progress(self) -> JobProgress:
        return self._job.progress()

    def waits_for(self) -> str:
        """Say what stands between the requests in flight and their results."""
        return self._client.run(self._job.waits_for())

    def cancel(self) -> None:
        """Send nothing more, and have the service cancel what waits."""
        self._client.run(self._job.cancel())


async def _in_a_thread(lines: Iterable[Any]) -> AsyncIterator[Any]:
    # The user's iterator may block, or call this very client.
    iterator = iter(lines)
    while part := await asyncio.to_thread(lambda: list(islice(iterator, _LINES_AT_ONCE))):
        for line in part:
            yield line
