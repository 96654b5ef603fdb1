"""The overview as the page is sent it. Pure.

Lists of things with a name are objects by name, so that a patch names what changed; ``order`` has
the names in order. What is not known is left out. Numbers have four digits: the page shows fewer,
and what did not change for a reader is not sent.
"""

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

from headrace.console.live.patches import Document
from headrace.overview.snapshot import Overview

MOST_WHOLE_NUMBER = 2**53
"""A browser has no larger whole numbers, and the encoder of JSON takes none beyond 64 bits."""
_NAMED = ("routes", "models", "deployments", "jobs")
_OWN_PAGE = ("members",)
"""Fields of a route that ``/api/routes/NAME`` has."""


def document_of(overview: Overview) -> Document:
    values = overview.to_dict()
    document: Document = {}
    for key, value in values.items():
        if key in _NAMED:
            document[key] = _by_name(value)
        else:
            document[key] = plain(value)
    return document


def _by_name(things: Iterable[Mapping[str, Any]]) -> Document:
    found = {str(each["name"]): each for each in things}
    return {
        "order": list(found),
        "by_name": {
            name: plain({key: value for key, value in each.items() if key not in _OWN_PAGE})
            for name, each in found.items()
        },
    }


def plain(value: Any) -> Any:
    """Return a JSON value without ``None`` and with short numbers; an infinite one is left out."""
    if isinstance(value, Mapping):
        parts = ((key, plain(each)) for key, each in value.items())
        return {key: each for key, each in parts if each is not None}
    if isinstance(value, list):
        return [each for each in map(plain, value) if each is not None]
    if isinstance(value, float):
        return short_number(value)
    if isinstance(value, int) and abs(value) > MOST_WHOLE_NUMBER:
        return float(value) if abs(value) < 2**1023 else None
    return value


def short_number(value: float) -> float | int | None:
    """Return a number of four digits, whole if it is; ``None`` for an infinite one."""
    # The largest numbers are rounded to infinity.
    if not isfinite(short := float(f"{value:.4g}")):
        return None
    return int(short) if short.is_integer() and abs(short) <= MOST_WHOLE_NUMBER else short
