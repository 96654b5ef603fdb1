"""The values of references, and conditions on them."""

from collections.abc import Mapping
from typing import Any

from schemas.settings.pipeline_references import REQUEST, Reference, is_reference, parse_reference
from schemas.settings.pipelines import Condition
from serve_models.pipeline.text import UnreadableTextError, request_text


class MissingValueError(ValueError):
    """A reference has no value in this record; the message names it and where it was looked up."""


class Values:
    def __init__(self, request: Mapping[str, Any]) -> None:
        self._request = request
        self._responses: dict[str, Any] = {}
        self._text: str | None = None

    def add_response(self, step: str, body: Any) -> None:
        self._responses[step] = body

    def resolve(self, reference: Reference) -> Any:
        if reference.root != REQUEST:
            response = self._responses.get(reference.root)
            return _follow(reference, response, reference.path, f"step '{reference.root}' answered")
        field, *path = reference.path
        if field == "text":
            return self._read_text(reference)
        return _follow(reference, self._request.get(field), path, f"the request has as {field}")

    def render(self, value: Any) -> Any:
        """Return a value with its references replaced, or raise ``MissingValueError``.

        Types are kept.
        """
        if isinstance(value, dict):
            return {key: self.render(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self.render(each) for each in value]
        if is_reference(value):
            return self.resolve(parse_reference(value))
        if isinstance(value, str) and value.startswith("$$"):
            return value[1:]
        return value

    def _read_text(self, reference: Reference) -> str:
        if self._text is None:
            try:
                self._text = request_text(self._request["body"])
            except UnreadableTextError as error:
                raise MissingValueError(f"{reference.text} cannot be read: {error}") from None
        return self._text


def holds(condition: Condition, value: Any) -> bool:
    """Whether a condition holds for the value that it refers to.

    Raises ``MissingValueError`` if it compares with a number, and the value is none.
    """
    if "equals" in condition.model_fields_set:
        return _equal(condition.equals, value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MissingValueError(f"{condition.value} is no number to compare with")
    if condition.at_least is not None:
        return value >= condition.at_least
    return condition.at_most is not None and value <= condition.at_most


def _follow(reference: Reference, value: Any, path: list[str] | tuple[str, ...], where: str) -> Any:
    for part in path:
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            raise MissingValueError(f"{reference.text}: there is no '{part}' in what {where}")
    return value


def _equal(expected: Any, value: Any) -> bool:
    """Compare as JSON does: in Python, true equals 1."""
    if isinstance(expected, bool) or isinstance(value, bool):
        return expected is value
    if isinstance(expected, dict) and isinstance(value, dict):
        return expected.keys() == value.keys() and all(
            _equal(each, value[key]) for key, each in expected.items()
        )
    if isinstance(expected, list) and isinstance(value, list):
        return len(expected) == len(value) and all(map(_equal, expected, value))
    return bool(expected == value)
