"""Each log call names an event of the table and fields of the table, and each event is logged."""

import ast
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from headrace.observability.log_page import logs_page
from schemas.log_events import ADDED_FIELDS, EVENTS, FIELDS

ROOT = Path(__file__).parents[3]
FOLDERS = ("consumer", "handoff", "serve_models", "headrace", "client/headrace_client", "schemas")
LOGGERS = frozenset({"log", "logger"})
LEVELS = frozenset({"info", "warning", "error", "exception", "critical", "log"})
# Names that an event gets from elsewhere: of a dataclass, of an argument.
INDIRECT = {"happening.event": "consumer/engine/happenings.py", "event": "headrace/cli/logs.py"}


class LogCall(NamedTuple):
    place: str
    extra: ast.expr | None


def log_calls(text: str, name: str) -> Iterator[LogCall]:
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id in LOGGERS
            and node.func.attr in LEVELS
        ):
            extra = next((each.value for each in node.keywords if each.arg == "extra"), None)
            yield LogCall(f"{name}:{node.lineno}", extra)


def sources() -> Iterator[tuple[str, str]]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def problems_of(call: LogCall) -> list[str]:
    if not isinstance(call.extra, ast.Dict):
        return [f'{call.place}: no extra={{"event": ...}}']
    problems = []
    keys = {
        key.value: value
        for key, value in zip(call.extra.keys, call.extra.values, strict=True)
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    }
    if "event" not in keys:
        problems.append(f"{call.place}: no event")
    problems += [
        f"{call.place}: {name} is no event of schemas/log_events.py"
        for name in events_of(call)
        if name not in EVENTS
    ]
    problems += [
        f"{call.place}: {key} is no field of schemas/log_events.py"
        for key in keys
        if key != "event" and key not in FIELDS
    ]
    return problems


def events_of(call: LogCall) -> set[str]:
    """Return the events that a call may name; an expression may choose between some."""
    if not isinstance(call.extra, ast.Dict):
        return set()
    for key, value in zip(call.extra.keys, call.extra.values, strict=True):
        if isinstance(key, ast.Constant) and key.value == "event":
            if (source := INDIRECT.get(ast.unparse(value))) is not None:
                return events_written_in(source)
            return {
                each.value
                for each in ast.walk(value)
                if isinstance(each, ast.Constant) and isinstance(each.value, str)
            }
    return set()


def events_written_in(source: str) -> set[str]:
    words = set(re.findall(r'"([a-z0-9]+(?:_[a-z0-9]+)+)"', (ROOT / source).read_text("utf-8")))
    return words & set(EVENTS)


def test_each_call_names_an_event_and_known_fields() -> None:
    calls = [call for name, text in sources() for call in log_calls(text, name)]

    assert len(calls) > 80
    assert [problem for call in calls for problem in problems_of(call)] == []


def test_each_event_of_the_table_is_logged() -> None:
    logged = set().union(
        *(events_of(call) for name, text in sources() for call in log_calls(text, name))
    )

    assert set(EVENTS) - logged == set()


def test_each_field_of_the_table_is_used() -> None:
    text = "".join(text for name, text in sources() if name != "schemas/log_events.py")

    assert [field for field in FIELDS if f'"{field}"' not in text] == []


def test_fields_are_words_that_logging_and_ray_leave_free() -> None:
    taken = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "replica"}

    assert not (taken & {*FIELDS, *ADDED_FIELDS, "event"})


def test_a_call_without_an_event_is_noticed() -> None:
    [plain] = log_calls("log.warning('x')", "a.py")
    [unknown] = log_calls("log.info('x', extra={'event': 'nothing_known', 'colour': 1})", "a.py")

    assert problems_of(plain) == ['a.py:1: no extra={"event": ...}']
    assert len(problems_of(unknown)) == 2


def test_the_page_is_of_this_table() -> None:
    assert (ROOT / "docs" / "logs.md").read_text("utf-8") == logs_page(), "run `make docs`"
