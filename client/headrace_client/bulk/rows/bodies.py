"""Rows as request bodies: a JSON document in whose strings ``{column}`` stands for a value."""

from typing import Any

import orjson
import pyarrow as pa

from headrace_client.bulk.rows import checks
from headrace_client.bulk.rows.columns import listed
from headrace_client.bulk.rows.errors import Fault, InputError
from headrace_client.bulk.rows.limits import DEFAULT_MAX_TEXT_BYTES
from headrace_client.bulk.rows.rendering import Rendered, records, rendered
from headrace_client.bulk.rows.rows import Rows
from headrace_client.bulk.rows.templates import Template


class BodyTemplate:
    """Each row's body is a document with the row's values put in.

    A string that is one column and nothing else (``"{documents}"``) becomes the column's value as
    it is: a list stays a list, a number a number. In any other string values are put in as text.
    Keys are left as they are.

    Args:
        document: The body, as JSON values; an object.
        schema: The columns that there are.
        max_text_bytes: What a body may have as JSON.

    Raises:
        InputError: A string names what is no column; or none does, so that all bodies are alike.
    """

    def __init__(
        self,
        document: Any,
        schema: pa.Schema,
        *,
        max_text_bytes: int = DEFAULT_MAX_TEXT_BYTES,
    ) -> None:
        if not isinstance(document, dict):
            raise InputError('the body must be a JSON object, such as {"input": "{text}"}')
        self._document = document
        self._max_bytes = max_text_bytes
        self._literals, self._slots = [b""], list[Template]()
        self._compile(document, schema)
        self._columns = tuple(dict.fromkeys(name for slot in self._slots for name in slot.columns))
        if not self._columns:
            raise InputError(
                "the body names no column, so that all requests would be the same: write one of "
                f"{listed(schema.names)} in braces into a string of it"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        return self._columns

    @property
    def fingerprint(self) -> dict[str, str | int | bool]:
        return {"body": orjson.dumps(self._document).decode()}

    def render(self, rows: Rows) -> Rendered:
        return rendered(rows, records(rows, self._columns), self._body)

    def _body(self, values: tuple[Any, ...]) -> bytes | Fault:
        row = dict(zip(self._columns, values, strict=True))
        for name, value in row.items():
            fault = checks.absent(name, value)
            if fault is not None:
                return fault
        if all(isinstance(value, str) and checks.is_blank(value) for value in values):
            return checks.blank(self._columns)
        parts = [self._literals[0]]
        for slot, literal in zip(self._slots, self._literals[1:], strict=True):
            part = _filled(slot, row)
            if isinstance(part, Fault):
                return part
            parts += (part, literal)
        body = b"".join(parts)
        if len(body) > self._max_bytes:
            return checks.too_large(len(body), self._max_bytes, "shorten its texts")
        return body

    def _compile(self, value: Any, schema: pa.Schema) -> None:
        """Add a value as JSON: bytes as they are, and slots where columns go."""
        if isinstance(value, dict):
            self._literals[-1] += b"{"
            for number, (key, inner) in enumerate(value.items()):
                self._literals[-1] += (b"," if number else b"") + orjson.dumps(key) + b":"
                self._compile(inner, schema)
            self._literals[-1] += b"}"
        elif isinstance(value, list):
            self._literals[-1] += b"["
            for number, inner in enumerate(value):
                self._literals[-1] += b"," if number else b""
                self._compile(inner, schema)
            self._literals[-1] += b"]"
        elif isinstance(value, str):
            template = Template(value, schema)
            if template.columns:
                self._slots.append(template)
                self._literals.append(b"")
            else:
                self._literals[-1] += orjson.dumps(template.render(()))
        else:
            self._literals[-1] += orjson.dumps(value)


def _filled(slot: Template, row: dict[str, Any]) -> bytes | Fault:
    if slot.is_column:
        return orjson.dumps(row[slot.columns[0]], default=str)
    texts: list[str] = []
    for name in slot.columns:
        text = checks.as_text(name, row[name])
        if isinstance(text, Fault):
            return text
        texts.append(text)
    return orjson.dumps(slot.render(texts))
