"""A record of a dead-letter topic, parsed. Pure."""

from dataclasses import dataclass
from typing import Any

import orjson

from headrace.records.reading import TopicRecord, parse_place
from headrace_client.wire.names import Place
from schemas.wire import headers
from schemas.wire.deadletters import (
    MAX_HISTORY_MESSAGE_CHARACTERS,
    Failure,
    read_failures,
    read_replays,
    split_headers,
)
from schemas.wire.framing import strip_marks
from schemas.wire.headers import Headers


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter; ``error_code`` may be another release's, times are epoch milliseconds."""

    record: TopicRecord
    request_headers: Headers
    source: Place
    route: str
    error_code: str
    error_message: str
    attempts: int
    failed_at_ms: int
    omitted_value_sha256: str | None = None
    omitted_value_bytes: int | None = None

    @property
    def replays(self) -> int:
        return read_replays(self.request_headers)

    @property
    def earlier_failures(self) -> list[Failure]:
        return read_failures(self.request_headers)

    @property
    def failure(self) -> Failure:
        return Failure(
            error_code=self.error_code[:64],
            error_message=self.error_message[:MAX_HISTORY_MESSAGE_CHARACTERS],
            source=str(self.source),
            route=self.route[:64],
            attempts=self.attempts,
            failed_at=self.failed_at_ms,
        )

    def custom_id(self) -> str | None:
        """Return the request's custom_id, else its key; parses the value at each call."""
        try:
            line = orjson.loads(strip_marks(self.record.value or b"", takes_frame=True))
        except orjson.JSONDecodeError:
            line = None
        custom_id = line.get("custom_id") if isinstance(line, dict) else None
        if isinstance(custom_id, str):
            return custom_id
        return None if self.record.key is None else self.record.key.decode("utf-8", "replace")

    def to_dict(self) -> dict[str, Any]:
        return {
            "custom_id": self.custom_id(),
            "route": self.route,
            "error_code": self.error_code,
            "error_message": self.error_message,
            "attempts": self.attempts,
            "failed_at": self.failed_at_ms,
            "source": str(self.source),
            "replays": self.replays,
            "earlier_failures": [failure.model_dump() for failure in self.earlier_failures],
            "omitted_value_bytes": self.omitted_value_bytes,
            "record": self.record.to_dict(),
        }


def read_letter(record: TopicRecord) -> DeadLetter | None:
    """Return the record as a dead letter; ``None`` if another program wrote it."""
    request_headers, own = split_headers(record.headers)
    said = {name: value.decode("utf-8", "replace") for name, value in own if value is not None}
    source = parse_place(said.get(headers.SOURCE, ""))
    error_code = said.get(headers.ERROR_CODE)
    failed_at_ms = _number(said.get(headers.FAILED_AT))
    if source is None or not error_code or failed_at_ms is None:
        return None
    return DeadLetter(
        record=record,
        request_headers=request_headers,
        source=source,
        route=said.get(headers.ROUTE, ""),
        error_code=error_code,
        error_message=said.get(headers.ERROR_MESSAGE, ""),
        attempts=_number(said.get(headers.ATTEMPTS)) or 0,
        failed_at_ms=failed_at_ms,
        omitted_value_sha256=said.get(headers.OMITTED_VALUE_SHA256),
        omitted_value_bytes=_number(said.get(headers.OMITTED_VALUE_BYTES)),
    )


def _number(text: str | None) -> int | None:
    is_number = text is not None and text.isascii() and text.isdigit()
    return int(text) if is_number and text is not None and len(text) <= 18 else None
