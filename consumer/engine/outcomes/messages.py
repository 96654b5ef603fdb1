"""Terminal outcomes as records to publish: results and dead letters."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from consumer.engine.work import WorkItem
from consumer.ports import Message
from schemas.wire import headers
from schemas.wire.headers import Header, Headers
from schemas.wire.references import BodyReference
from schemas.wire.results import (
    ErrorCode,
    encode_error_line,
    encode_stored_line,
    result_id,
    splice_response_line,
)

_ATTEMPTS: Sequence[Header] = [(headers.ATTEMPTS, b"%d" % count) for count in range(64)]


@dataclass(slots=True)
class OutcomeMessages:
    """Composes a route's outcomes.

    Attributes:
        max_result_bytes: The most bytes of a result's value.
        fail_with_result: Whether a dead letter that has a custom_id also gives a result.
    """

    route: str
    model: str
    results_topic: str
    dead_letters_topic: str
    max_result_bytes: int
    fail_with_result: bool
    _model_header: Header = field(init=False, repr=False)
    # Records that came, went out and were answered together share their timings.
    _times: tuple[float, float, float] | None = field(init=False, default=None, repr=False)
    _timings_header: Header = field(init=False, default=("", b""), repr=False)

    def __post_init__(self) -> None:
        self._model_header = (headers.MODEL, self.model.encode())

    def response(
        self, item: WorkItem, custom_id: str, status_code: int, body: bytes, now_s: float
    ) -> list[Message]:
        record = item.record
        quoted_id = item.assignment.quoted_result_id(record.offset)
        value = splice_response_line(quoted_id, custom_id, status_code, body)
        if len(value) > self.max_result_bytes:
            message = (
                f"the result has {len(value):,} bytes, over the route's limits.max_result_bytes of "
                f"{self.max_result_bytes:,}; ask for less in one request or raise the limit"
            )
            return [self.error(item, custom_id, ErrorCode.RESULT_TOO_LARGE, message, now_s)]
        return [self._result(item, value, now_s)]

    def stored(
        self,
        item: WorkItem,
        custom_id: str,
        status_code: int,
        reference: BodyReference,
        now_s: float,
    ) -> list[Message]:
        record = item.record
        value = encode_stored_line(
            result_id(*record.partition, record.offset), custom_id, status_code, reference
        )
        return [self._result(item, value, now_s)]

    def error(
        self, item: WorkItem, custom_id: str, code: ErrorCode, message: str, now_s: float
    ) -> Message:
        record = item.record
        value = encode_error_line(
            result_id(*record.partition, record.offset), custom_id, code, message
        )
        return self._result(item, value, now_s)

    def dead_letter(
        self, item: WorkItem, code: ErrorCode, message: str, now_s: float, epoch_ms: int
    ) -> list[Message]:
        record = item.record
        letter_headers: Headers = [
            *record.headers,
            (headers.SOURCE, item.assignment.source(record.offset)),
            (headers.ROUTE, self.route.encode()),
            (headers.ERROR_CODE, code.value.encode()),
            (headers.ERROR_MESSAGE, headers.encode_message(message)),
            (headers.ATTEMPTS, b"%d" % item.attempts),
            (headers.FAILED_AT, b"%d" % epoch_ms),
        ]
        topic = self.dead_letters_topic
        messages = [Message(topic, record.key, record.value, letter_headers, item)]
        if self.fail_with_result and item.custom_id is not None:
            messages.append(self.error(item, item.custom_id, code, message, now_s))
        return messages

    def _result(self, item: WorkItem, value: bytes, now_s: float) -> Message:
        record = item.record
        attempts = item.attempts
        own: Headers = [
            (headers.SOURCE, item.assignment.source(record.offset)),
            _ATTEMPTS[attempts] if attempts < 64 else (headers.ATTEMPTS, b"%d" % attempts),
            self._model_header,
            self._timings(item.received_at_s, item.dispatched_at_s or now_s, now_s),
        ]
        all_headers = headers.echo(record.headers) + own if record.headers else own
        if item.trace is not None:
            all_headers = item.trace.context.on(all_headers)
        # A named tuple's own constructor takes twice as long.
        topic = self.results_topic if item.reply_topic is None else item.reply_topic
        return tuple.__new__(Message, (topic, record.key, value, all_headers, item))

    def _timings(self, received_at_s: float, dispatched_at_s: float, now_s: float) -> Header:
        times = (received_at_s, dispatched_at_s, now_s)
        if times != self._times:
            queued_ms = (dispatched_at_s - received_at_s) * 1000
            model_ms = (now_s - dispatched_at_s) * 1000
            value = f"queued_ms={queued_ms:.1f},model_ms={model_ms:.1f}".encode()
            self._times, self._timings_header = times, (headers.TIMINGS, value)
        return self._timings_header


def printable(text: str) -> str:
    """Return an error's text, of any origin, as it may stand in JSON and in a header."""
    return text[: headers.MAX_MESSAGE_CHARACTERS].encode("utf-8", "replace").decode()
