"""What is wrong with a settings file, one problem at a time, with the fix.

Pure: turns pydantic's errors into sentences that name the field as it stands in the file. A value
is shown only where it cannot be a secret.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from headrace.settings.outline import (
    Path,
    field_at,
    file_path,
    known_keys,
    literal_values,
    union_tags,
)

SECRET_PATH = re.compile(r"pass|pwd|secret|credential|sasl|api_?key|token$", re.IGNORECASE)
NAME_RULE = "lower-case letters, digits and dashes, at most 63, a letter or digit at both ends"
MAX_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the settings.

    Attributes:
        field: The path as it stands in the file, e.g. ``models.minilm.dtype``; empty where the
            problem is with the file as a whole.
        message: What is wrong, and the fix.
        where: ``FILE:LINE`` or the environment variable that set the value; empty if unknown.
    """

    field: str
    message: str
    where: str = ""

    def __str__(self) -> str:
        """Return the problem on one line."""
        return ": ".join(part for part in (self.where, self.field, self.message) if part)


class SettingsError(ValueError):
    """The settings cannot be used as they are.

    Attributes:
        problems: Everything wrong that could be told at once, at least one.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type["SettingsError"], tuple[tuple[Problem, ...]]]:
        """Pickle by the problems: the message is made from them."""
        return type(self), (self.problems,)


def show_path(path: Path) -> str:
    """Return ``path`` as a dotted name, ``models.minilm.served_names[1]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def suggest(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the closest known word, or nothing."""
    match = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f"; did you mean '{match[0]}'?" if match else ""


def describe_errors(
    error: ValidationError, model: type[BaseModel], where: Mapping[Path, str]
) -> list[Problem]:
    """Return one problem for each of pydantic's errors.

    Args:
        error: What validation of ``model`` raised.
        model: The settings model, to name known keys and describe fields.
        where: Where each path was set; the nearest known ancestor counts.
    """
    problems = []
    for details in error.errors(include_url=False):
        path = file_path(model, details["loc"])
        message = describe(details, model)
        problems.append(Problem(show_path(path), message, nearest(path, where)))
    return problems


def nearest(path: Path, where: Mapping[Path, str]) -> str:
    """Return where ``path`` or its nearest known ancestor was set, or nothing."""
    for length in range(len(path), -1, -1):
        if path[:length] in where:
            return where[path[:length]]
    return ""


def describe(details: ErrorDetails, model: type[BaseModel]) -> str:
    """Return what is wrong and the fix, for a person who has the file open."""
    location = details["loc"]
    if location[-1:] == ("[key]",):
        return f"a name must be {NAME_RULE}; rename it"
    context = details.get("ctx", {})
    match details["type"]:
        case "missing":
            message = "is missing; add it" + about(field_at(model, location))
        case "extra_forbidden":
            known = known_keys(model, location[:-1])
            guess = suggest(str(location[-1]), known) or ";"
            message = f"unknown key{guess} known keys: {', '.join(known)}"
        case "value_error":
            message = str(context["error"])
        case "union_tag_not_found":
            message = f"kind is missing; add it, one of: {', '.join(union_tags(model, location))}"
        case "union_tag_invalid":
            tag, tags = str(context["tag"]), union_tags(model, location)
            message = f"kind: '{tag}' is not one of: {', '.join(tags)}{suggest(tag, tags)}"
        case "too_short":
            message = "is empty; add at least one entry"
        case _:
            message = describe_value(details, model)
    return message


def describe_value(details: ErrorDetails, model: type[BaseModel]) -> str:
    """Return what is wrong with a single value."""
    location = details["loc"]
    field = field_at(model, location)
    shown = show_value(details["input"], location)
    if details["type"] in {"model_type", "model_attributes_type", "dict_type"}:
        return f"{shown} stands where a mapping must; write KEY: VALUE lines below it"
    if details["type"] == "literal_error":
        allowed = [str(value) for value in literal_values(field.annotation if field else None)]
        guess = suggest(str(details["input"]), allowed)
        return f"{shown} is not one of: {', '.join(allowed)}{guess}"
    pattern = str(details.get("ctx", {}).get("pattern", ""))
    rule = f"must be {NAME_RULE}" if "{0,61}" in pattern else plain(details["msg"])
    return f"{shown} {rule}{about(field)}"


def plain(message: str) -> str:
    """Return pydantic's message as the rest of a sentence."""
    return re.sub(r"^(Input|String|Value|List|Tuple) should", "must", message)


def about(field: FieldInfo | None) -> str:
    """Return the field's description in brackets, if it has one."""
    return f" ({field.description.rstrip('.')})" if field and field.description else ""


def show_value(value: Any, path: Path) -> str:
    """Return a value for a message; never a secret, nor a mapping that might hold one."""
    if SECRET_PATH.search(show_path(path)):
        return "the value (not shown)"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(value) if isinstance(value, str) else str(value)
    if value is None:
        text = "nothing (null)"
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[:MAX_SHOWN_CHARACTERS] + "…"
