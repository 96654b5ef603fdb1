"""Pydantic's errors as sentences that name the field in the file and the fix; never a secret."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from headrace.settings.outline import Place, find_place
from headrace.settings.problems import Path, Problem, show_path, suggest

SECRET_PATH = re.compile(r"pass|pwd|secret|credential|sasl|api_?key|token$", re.IGNORECASE)
NAME_RULE = "lower-case letters, digits and dashes, at most 63, a letter or digit at both ends"
MAX_SHOWN_CHARACTERS = 60


def describe_errors(error: ValidationError, where: Mapping[Path, str]) -> list[Problem]:
    problems = []
    for details in error.errors(include_url=False):
        place = find_place(details["loc"])
        ancestors = (place.path[:length] for length in range(len(place.path), -1, -1))
        set_at = next((where[path] for path in ancestors if path in where), "")
        problems.append(Problem(show_path(place.path), _describe(details, place), set_at))
    return problems


def _describe(details: ErrorDetails, place: Place) -> str:
    location, context = details["loc"], details.get("ctx", {})
    if location[-1:] == ("[key]",):
        return f"a name must be {NAME_RULE}; rename it"
    match details["type"]:
        case "missing":
            message = "is missing; add it" + _about(place)
        case "extra_forbidden":
            known = find_place(location[:-1]).keys
            guess = suggest(str(location[-1]), known) or ";"
            message = f"unknown key{guess} known keys: {', '.join(known)}"
        case "value_error":
            message = str(context["error"])
        case "union_tag_not_found":
            message = f"kind is missing; add it, one of: {', '.join(place.kinds)}"
        case "union_tag_invalid":
            tag = str(context["tag"])
            message = f"kind: '{tag}' is not one of: {', '.join(place.kinds)}" + suggest(
                tag, place.kinds
            )
        case "too_short":
            message = "is empty; add at least one entry"
        case _:
            message = _describe_value(details, place)
    return message


def _describe_value(details: ErrorDetails, place: Place) -> str:
    shown = _show_value(details["input"], details["loc"])
    if details["type"] in {"model_type", "model_attributes_type", "dict_type"}:
        return f"{shown} stands where a mapping must; write KEY: VALUE lines below it"
    if details["type"] == "literal_error":
        guess = suggest(str(details["input"]), place.values)
        return f"{shown} is not one of: {', '.join(place.values)}{guess}"
    if "{0,61}" in str(details.get("ctx", {}).get("pattern", "")):
        rule = f"must be {NAME_RULE}"
    else:
        rule = re.sub(r"^(Input|String|Value|List|Tuple) should", "must", details["msg"])
    return f"{shown} {rule}{_about(place)}"


def _about(place: Place) -> str:
    return f" ({place.description.rstrip('.')})" if place.description else ""


def _show_value(value: Any, path: Path) -> str:
    """Return a value for a message; never a secret, nor a mapping that might have one."""
    if SECRET_PATH.search(show_path(path)):
        return "the value (not shown)"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "nothing (null)"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[:MAX_SHOWN_CHARACTERS] + "…"
