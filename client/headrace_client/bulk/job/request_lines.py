"""The request lines of a job, written from JSON that is ready. Pure."""

from collections.abc import Mapping
from typing import Any, Protocol

import orjson

from headrace_client.bulk.job.chunks import HeldRows
from headrace_client.jobs import Request


class WritesLines(Protocol):
    """Writes the line of a request."""

    def line(self, request: Request, held: HeldRows) -> bytes: ...


class GroupedTexts:
    """Texts of several rows in one request's ``input``.

    Args:
        job: The job's name on the wire.
        url: The endpoint.
        parameters: The other fields of the body.
    """

    def __init__(self, job: str, url: str, parameters: Mapping[str, Any]) -> None:
        self._job = job
        self._middle = b',"method":"POST","url":' + orjson.dumps(url) + b',"body":{"input":['
        rest = orjson.dumps(dict(parameters))[1:-1]
        self._end = b"]," + rest + b"}}" if rest else b"]}}"

    def line(self, request: Request, held: HeldRows) -> bytes:
        return b"".join(
            (
                _opening(request, self._job),
                self._middle,
                b",".join(held.payloads(request.first, request.end)),
                self._end,
            )
        )


class WholeBodies:
    """The body of one row in a request of its own; rows may name endpoints of their own."""

    def __init__(self, job: str, url: str) -> None:
        self._job = job
        self._url = url

    def line(self, request: Request, held: HeldRows) -> bytes:
        url = held.url(request.first) or self._url
        (body,) = held.payloads(request.first, request.end)
        return b"".join(
            (
                _opening(request, self._job),
                b',"method":"POST","url":',
                orjson.dumps(url),
                b',"body":',
                body,
                b"}",
            )
        )


def _opening(request: Request, job: str) -> bytes:
    # First, so that the service can name a request whose rest it cannot read.
    return b'{"custom_id":' + orjson.dumps(request.custom_id(job))
