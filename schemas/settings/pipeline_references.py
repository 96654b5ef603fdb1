"""References in a pipeline's settings, e.g. ``$request.text`` or ``$guard.data.0.label``."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

REQUEST = "request"
"""The root of references into the request; no step may have this name."""
REQUEST_FIELDS = ("body", "custom_id", "text", "url")
_FORM = re.compile(r"\$([a-z0-9-]+)((?:\.[^.\s]+)*)")


class ReferenceSyntaxError(ValueError):
    """A text that starts with a dollar is not a reference; the message says how to write one."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a value comes from.

    Attributes:
        text: The reference as written in the settings.
        root: ``request``, or a step's name.
        path: Keys, or positions in a list, below the root.
    """

    text: str
    root: str
    path: tuple[str, ...]


def is_reference(value: Any) -> bool:
    """Say whether a value of a step's body is a reference; ``$$`` is an escaped dollar."""
    return isinstance(value, str) and value.startswith("$") and not value.startswith("$$")


def parse_reference(text: str) -> Reference:
    """Parse a reference; ``ReferenceSyntaxError`` also if the request has no such field."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise ReferenceSyntaxError(
            f"'{text}' is no reference; write $request.FIELD or $STEP.PATH, or $$ where a dollar "
            "is meant"
        )
    root, dotted = match.groups()
    reference = Reference(text, root, tuple(dotted.split(".")[1:]))
    if root == REQUEST:
        _check_request_field(reference)
    return reference


def references_in(value: Any) -> Iterator[Reference]:
    """Yield a body's references; ``ReferenceSyntaxError`` for another text with one dollar."""
    if isinstance(value, dict):
        for each in value.values():
            yield from references_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from references_in(each)
    elif is_reference(value):
        yield parse_reference(value)


def _check_request_field(reference: Reference) -> None:
    known = ", ".join(f"$request.{field}" for field in REQUEST_FIELDS)
    if not reference.path or reference.path[0] not in REQUEST_FIELDS:
        raise ReferenceSyntaxError(f"'{reference.text}': the request has {known}; use one of these")
    if len(reference.path) > 1 and reference.path[0] != "body":
        raise ReferenceSyntaxError(
            f"'{reference.text}': $request.{reference.path[0]} is a text and has no parts; leave "
            "the rest out"
        )
