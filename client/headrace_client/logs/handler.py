"""A handler that limits, cleans and passes on what a process logs."""

import copy
import logging
import traceback
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Any

from headrace_client.logs.limits import LineLimits
from headrace_client.logs.redacting import MOST_MESSAGE_CHARACTERS, Redactor, clean_line

_MOST_FIELD_CHARACTERS = 500
_MOST_VALUES = 20
_MOST_FRAMES = 12
_MOST_ERRORS = 5
_LOOK_EVERY_S = 1.0
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

KIND_FIELDS = (
    "route",
    "model",
    "deployment",
    "topic",
    "partition",
    "code",
    "reason",
    "error_class",
    "broker",
    "client",
)
"""Lines of one event count as the same kind if these fields are the same."""
AUDIT_EVENTS = frozenset({"console_acts", "console_acted"})
"""Each line counts: among many harmless ones, one that is not must not be left out.

Only who may act can cause them."""
COUNT_FIELD = "records"
"""A line that is left out counts for as many."""


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return what the call gave in ``extra``, the event among it."""
    return {
        name: value
        for name, value in vars(record).items()
        if name not in _STANDARD and not name.startswith("_")
    }


class EventHandler(logging.Handler):
    """Passes records on to ``write``, at most so many of a kind, without secrets.

    Of exceptions it writes the classes and the places, not the messages: those of models and
    parsers quote what they failed on. A call that knows its error to be harmless has it in its own
    message.

    Args:
        write: Takes a record that is ready to be formatted.
        redact: Removes secrets from a text.
        monotonic_s: A clock, in seconds.
    """

    def __init__(
        self,
        write: Callable[[logging.LogRecord], None],
        *,
        redact: Redactor,
        monotonic_s: Callable[[], float],
        limits: LineLimits | None = None,
    ) -> None:
        super().__init__()
        self._write = write
        self._redact = redact
        self._monotonic_s = monotonic_s
        self._limits = LineLimits() if limits is None else limits
        self._last: dict[Hashable, logging.LogRecord] = {}
        self._look_at_s = float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        try:
            now_s = self._monotonic_s()
            self._report_left_out(now_s)
            if getattr(record, "event", None) in AUDIT_EVENTS:
                self._write(self._cleaned(record))
                return
            kind = self._limits.kind_with_room(_kind_of(record), now_s)
            weight = getattr(record, COUNT_FIELD, 1)
            if self._limits.takes(kind, now_s, weight if isinstance(weight, int) else 1):
                self._write(self._cleaned(record))
            elif kind not in self._last:
                self._last[kind] = self._cleaned(record)
        except Exception:  # noqa: BLE001 - as any handler: a line must not cost what it tells of
            self.handleError(record)

    def report_left_out(self, *, all_of_it: bool = False) -> None:
        """Write how much was left out, where a minute has passed; call this now and then."""
        self.acquire()
        try:
            self._report_left_out(self._monotonic_s(), all_of_it=all_of_it)
        finally:
            self.release()

    def close(self) -> None:
        self.report_left_out(all_of_it=True)
        super().close()

    def _report_left_out(self, now_s: float, *, all_of_it: bool = False) -> None:
        if not self._last or (now_s < self._look_at_s and not all_of_it):
            return
        self._look_at_s = now_s + _LOOK_EVERY_S
        for each in self._limits.due(now_s, all_of_them=all_of_it):
            record = copy.copy(self._last.pop(each.kind))
            record.more, record.within_s = each.count, round(each.within_s)
            record.exc_text = None
            vars(record).pop("traceback", None)
            record.msg = (
                f"{record.msg} (and {each.count:,} more like it in the last {each.within_s:.0f} s)"
            )
            self._write(record)

    def _cleaned(self, record: logging.LogRecord) -> logging.LogRecord:
        clean = copy.copy(record)
        clean_in_place(clean, self._redact)
        clean.logger = record.name
        if clean.exc_text and record.exc_info and (error := record.exc_info[1]) is not None:
            clean.error_class = getattr(record, "error_class", type(error).__name__)
        return clean


def clean_in_place(record: logging.LogRecord, redact: Callable[[str], str]) -> None:
    """Take secrets, endless texts and the messages of exceptions out of a record."""
    record.msg = clean_line(redact, _message_of(record), MOST_MESSAGE_CHARACTERS)
    record.args = None
    for name, value in fields_of(record).items():
        setattr(record, name, _clean_value(redact, value))
    error = record.exc_info[1] if record.exc_info else None
    record.exc_info = record.stack_info = record.exc_text = None
    if error is not None:
        # One for plain lines, which the standard library puts below them, one for JSON.
        record.exc_text = record.traceback = redact(places_of(error))


def _clean_value(redact: Callable[[str], str], value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        items = list(value.items())[:_MOST_VALUES]
        return {name: _clean_value(redact, each) for name, each in items}
    if isinstance(value, Collection) and not isinstance(value, str | bytes):
        return [_clean_value(redact, each) for each in list(value)[:_MOST_VALUES]]
    return clean_line(redact, str(value), _MOST_FIELD_CHARACTERS)


def _kind_of(record: logging.LogRecord) -> Hashable:
    values = vars(record)
    event = values.get("event")
    if event is None:
        # Not the text, which differs each time.
        return record.name, record.msg if isinstance(record.msg, str) else type(record.msg).__name__
    return (event, *(str(values.get(name)) for name in KIND_FIELDS))


def _message_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - whatever an argument's own text raises
        return f"{record.msg} (its arguments do not fit)"


def places_of(error: BaseException) -> str:
    """Return an exception's class, its causes' classes, and the places, without their messages."""
    lines: list[str] = []
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen and len(seen) < _MOST_ERRORS:
        seen.add(id(at))
        lines.append(f"{type(at).__module__}.{type(at).__qualname__}")
        lines += [
            f"  {frame.filename}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(at.__traceback__)[-_MOST_FRAMES:]
        ]
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    return "\n".join(lines)
