"""Requests without a result, and which of them a record answers.

The calls' custom_ids begin with the client's own prefix, so that records of other clients on a
shared results topic are told by a search for it, and not parsed. Jobs have custom_ids of their
users', and are told by the header ``headrace-job``.
"""

import asyncio
import logging
from typing import Protocol

from headrace_client.errors import ClientError, UnreadableResultError
from headrace_client.wire.names import JOB, Headers, Place, last_value
from headrace_client.wire.results import Result, parse_dead_letter, parse_result

log = logging.getLogger(__name__)


class JobRequests(Protocol):
    """The requests of a job; ``places`` as in ``Pending``."""

    answered_requests: int

    def take(self, result: Result) -> None: ...

    def fail(self, error: ClientError) -> None: ...

    def places(self, requests_topic: str) -> tuple[list[Place], int]: ...

    @property
    def open_requests(self) -> int: ...


class Call:
    """One request on its way; ``place`` is known once brokers have acknowledged it."""

    __slots__ = ("answer", "place", "requests_topic")

    def __init__(self, requests_topic: str, answer: "asyncio.Future[Result]") -> None:
        self.requests_topic = requests_topic
        self.answer = answer
        self.place: Place | None = None

    def delivered(self, acknowledgement: "asyncio.Future[Place]") -> None:
        error = None if acknowledgement.cancelled() else acknowledgement.exception()
        if error is not None:
            self.fail(error)
        elif not acknowledgement.cancelled():
            self.place = acknowledgement.result()

    def fail(self, error: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
            # Whoever waited may be gone, and asyncio would complain.
            self.answer.exception()


class Pending:
    """Calls by custom_id, and jobs by name."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._needle = prefix.encode()
        self._next = 0
        self._calls: dict[str, Call] = {}
        self._jobs: dict[bytes, JobRequests] = {}
        self._answered_calls = 0

    @property
    def open_requests(self) -> int:
        return len(self._calls) + sum(each.open_requests for each in self._jobs.values())

    @property
    def answered_requests(self) -> int:
        return self._answered_calls + sum(each.answered_requests for each in self._jobs.values())

    def next_custom_id(self) -> str:
        self._next += 1
        return f"{self._prefix}{self._next}"

    def add(self, custom_id: str, call: Call) -> None:
        self._calls[custom_id] = call

    def discard(self, custom_id: str) -> None:
        self._calls.pop(custom_id, None)

    def add_job(self, job: str, requests: JobRequests) -> None:
        if job.encode() in self._jobs:
            raise ClientError(f"job {job!r} runs in this client already: give it another name")
        self._jobs[job.encode()] = requests

    def discard_job(self, job: str) -> None:
        self._jobs.pop(job.encode(), None)

    def offer(self, value: bytes | None, headers: Headers, is_dead_letter: bool = False) -> None:
        """Take a record of a results or dead-letter topic; a repeat finds nothing that waits."""
        is_call = value is not None and self._needle in value
        job = self._jobs.get(last_value(headers, JOB) or b"") if self._jobs else None
        if not is_call and job is None:
            return
        try:
            read = parse_dead_letter if is_dead_letter else parse_result
            result = read(value, headers)
        except UnreadableResultError as error:
            log.warning(
                "a record that is no result is skipped: %s",
                type(error.__context__ or error).__name__,
                extra={"event": "result_skipped"},
            )
            return
        if job is not None:
            job.take(result)
            return
        call = self._calls.pop(result.custom_id, None)
        if call is not None and not call.answer.done():
            self._answered_calls += 1
            call.answer.set_result(result)

    def fail_all(self, error: ClientError) -> None:
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.fail(error)
        for job in list(self._jobs.values()):
            job.fail(error)

    def places(self, requests_topic: str) -> tuple[list[Place], int]:
        """Return where the open calls of a topic stand, and how many stand nowhere yet."""
        calls = [each for each in self._calls.values() if each.requests_topic == requests_topic]
        places = [each.place for each in calls if each.place is not None]
        unacknowledged = len(calls) - len(places)
        for job in self._jobs.values():
            of_job, more = job.places(requests_topic)
            places += of_job
            unacknowledged += more
        return places, unacknowledged
