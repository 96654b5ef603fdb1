"""Terminal outcomes as records to publish: results and dead letters."""

import hashlib
import itertools
from dataclasses import dataclass

from consumer.core.ports import Message
from consumer.core.work import WorkItem
from schemas import headers
from schemas.headers import Headers
from schemas.references import BodyReference
from schemas.results import (
    ErrorCode,
    encode_error_line,
    encode_response_line,
    encode_stored_line,
    result_id,
)

_MAX_SUBSTITUTE_KEY_BYTES = 1024
_MAX_SUBSTITUTE_HEADERS_BYTES = 8192
_MAX_OWN_HEADER_BYTES = 4 * headers.MAX_MESSAGE_CHARACTERS


@dataclass(frozen=True, slots=True)
class OutcomeMessages:
    """Composes a route's outcomes.

    Attributes:
        route: The route's name, as dead letters carry it.
        model: The model's name, as results carry it.
        results_topic: Where results go.
        dead_letters_topic: Where dead letters go.
        max_result_bytes: The most bytes a result's value may have.
        fail_with_result: Whether a dead letter that has a custom_id also gives a result.
    """

    route: str
    model: str
    results_topic: str
    dead_letters_topic: str
    max_result_bytes: int
    fail_with_result: bool

    def response(
        self, item: WorkItem, custom_id: str, status_code: int, body: bytes, now_s: float
    ) -> list[Message]:
        """Return the result that carries the endpoint's answer, or says that it is too large."""
        record = item.record
        value = encode_response_line(
            result_id(*record.partition, record.offset), custom_id, status_code, body
        )
        if len(value) > self.max_result_bytes:
            message = (
                f"the result has {len(value):,} bytes, over the route's limits.max_result_bytes of "
                f"{self.max_result_bytes:,}; ask for less in one request or raise the limit"
            )
            return [self.error(item, custom_id, ErrorCode.RESULT_TOO_LARGE, message, now_s)]
        return [Message(self.results_topic, record.key, value, self._result_headers(item, now_s))]

    def stored(
        self,
        item: WorkItem,
        custom_id: str,
        status_code: int,
        reference: BodyReference,
        now_s: float,
    ) -> list[Message]:
        """Return the result that says where the endpoint's answer lies."""
        record = item.record
        value = encode_stored_line(
            result_id(*record.partition, record.offset), custom_id, status_code, reference
        )
        return [Message(self.results_topic, record.key, value, self._result_headers(item, now_s))]

    def error(
        self, item: WorkItem, custom_id: str, code: ErrorCode, message: str, now_s: float
    ) -> Message:
        """Return the result that says why there is no response."""
        record = item.record
        value = encode_error_line(
            result_id(*record.partition, record.offset), custom_id, code, message
        )
        return Message(self.results_topic, record.key, value, self._result_headers(item, now_s))

    def dead_letter(
        self, item: WorkItem, code: ErrorCode, message: str, now_s: float, epoch_ms: int
    ) -> list[Message]:
        """Return the dead letter, and the result that keeps the asker from waiting."""
        record = item.record
        letter_headers: Headers = [
            *record.headers,
            (headers.SOURCE, headers.encode_source(*record.partition, record.offset)),
            (headers.ROUTE, self.route.encode()),
            (headers.ERROR_CODE, code.value.encode()),
            (headers.ERROR_MESSAGE, headers.encode_message(message)),
            (headers.ATTEMPTS, b"%d" % item.attempts),
            (headers.FAILED_AT, b"%d" % epoch_ms),
        ]
        messages = [Message(self.dead_letters_topic, record.key, record.value, letter_headers)]
        if self.fail_with_result and item.custom_id is not None:
            messages.append(self.error(item, item.custom_id, code, message, now_s))
        return messages

    def substitute(self, item: WorkItem, refused: Message, reason: str, now_s: float) -> Message:
        """Return a small message in the place of one that the broker will never take.

        A result becomes a result that says so. A dead letter goes without its value, which can be
        read at its source, and carries the value's size and checksum instead. Key and producer's
        headers are kept unless they may be what was too large.
        """
        if refused.topic == self.results_topic:
            text = f"the result could not be published: {reason}"
            code = ErrorCode.RESULT_TOO_LARGE
            message = self.error(item, item.custom_id or "", code, text, now_s)
        else:
            omitted = [] if refused.value is None else _describe_omitted(refused.value)
            message = refused._replace(value=None, headers=[*refused.headers, *omitted])
        key = message.key if len(message.key or b"") <= _MAX_SUBSTITUTE_KEY_BYTES else None
        # Ours stand last; a producer's own of the same name may be what was too large.
        own = list(itertools.takewhile(_is_own, reversed(message.headers)))[::-1]
        keeps_all = _headers_bytes(message.headers) <= _MAX_SUBSTITUTE_HEADERS_BYTES
        return message._replace(key=key, headers=message.headers if keeps_all else own)

    def _result_headers(self, item: WorkItem, now_s: float) -> Headers:
        record = item.record
        dispatched_at_s = item.dispatched_at_s or now_s
        queued_ms = (dispatched_at_s - item.received_at_s) * 1000
        model_ms = (now_s - dispatched_at_s) * 1000
        own: Headers = [
            (headers.SOURCE, headers.encode_source(*record.partition, record.offset)),
            (headers.ATTEMPTS, b"%d" % item.attempts),
            (headers.MODEL, self.model.encode()),
            (headers.TIMINGS, f"queued_ms={queued_ms:.1f},model_ms={model_ms:.1f}".encode()),
        ]
        return headers.echo(record.headers) + own if record.headers else own


def _describe_omitted(value: bytes) -> Headers:
    return [
        (headers.OMITTED_VALUE_BYTES, b"%d" % len(value)),
        (headers.OMITTED_VALUE_SHA256, hashlib.sha256(value).hexdigest().encode()),
    ]


def _headers_bytes(all_headers: Headers) -> int:
    return sum(len(name) + len(value) for name, value in all_headers)


def _is_own(header: tuple[str, bytes]) -> bool:
    return header[0] in headers.OWN and len(header[1]) <= _MAX_OWN_HEADER_BYTES


def printable(text: str) -> str:
    """Return an error's text, of whatever origin, as it may stand in JSON and in a header."""
    return text[: headers.MAX_MESSAGE_CHARACTERS].encode("utf-8", "replace").decode()
