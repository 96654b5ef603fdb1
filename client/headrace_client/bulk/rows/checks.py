"""Checks of values before they are sent."""

import math
from datetime import date, time
from typing import Any

import orjson

from headrace_client.bulk.rows.errors import Fault
from headrace_client.bulk.rows.rows import MISSING, InvalidText
from headrace_client.wire.exact_json import exact_json

_ESCAPED_BYTES = 6
"""What a character takes at most in JSON, as in ``\\u0001``."""
_SHOWN_CHARACTERS = 40


def absent(name: str, value: Any) -> Fault | None:
    """Say why a column has no value that could be sent as anything."""
    if value is MISSING:
        return Fault("column_missing", f"has no column {name!r}")
    if value is None:
        return Fault("null", f"column {name!r} is null")
    if isinstance(value, InvalidText):
        return Fault("invalid_utf8", f"column {name!r}: {value.error}")
    if isinstance(value, float) and not math.isfinite(value):
        return Fault("not_text", f"column {name!r} is {value}, which JSON does not have")
    return None


def not_text(name: str, value: Any) -> Fault:
    """Say why a value, which is no text, is not sent as one."""
    fault = absent(name, value)
    if fault is not None:
        return fault
    message = f"column {name!r} is {_kind(value)} ({_shown(value)})"
    if isinstance(value, list | dict):
        return Fault("not_text", f"{message}, and no text")
    return Fault("not_text", f'{message}; use --template "{{{name}}}" to send it as text')


def blank(names: tuple[str, ...]) -> Fault:
    if len(names) == 1:
        return Fault("empty", f"column {names[0]!r} is empty or blank")
    return Fault("empty", f"columns {', '.join(names)} are all empty or blank")


def too_large(size: int, max_bytes: int, advice: str) -> Fault:
    return Fault(
        "too_large",
        f"has {size:,} bytes as JSON, and {max_bytes:,} are allowed (--max-text-bytes); {advice}",
    )


def is_blank(text: str) -> bool:
    return not text or text.isspace()


def as_text(name: str, value: Any) -> str | Fault:
    """Return a value as text, for a template: ``7``, ``0.5``, ``true``, or a date as ISO 8601."""
    if type(value) is str:
        return value
    fault = absent(name, value)
    if fault is not None:
        return fault
    if isinstance(value, list | dict):
        return not_text(name, value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, date | time) else str(value)


def truncated(text: str, max_bytes: int) -> bytes:
    """Return as much of a text's beginning, as JSON, as fits in ``max_bytes`` without quotes."""
    kept = text.encode()[:max_bytes].decode(errors="ignore")
    payload = exact_json(kept)
    while (over := len(payload) - 2 - max_bytes) > 0:
        kept = kept[: len(kept) - math.ceil(over / _ESCAPED_BYTES)]
        payload = exact_json(kept)
    return payload


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    names = {"list": "a list", "dict": "an object"}
    name = type(value).__name__
    return names.get(name, f"a {name}")


def _shown(value: Any) -> str:
    text = orjson.dumps(value, default=str).decode()
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
