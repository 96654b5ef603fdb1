"""Rows as texts to embed: a column, or a template over several."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from headrace_client.bulk.rows import checks
from headrace_client.bulk.rows.columns import listed, require_column
from headrace_client.bulk.rows.errors import Fault, InputError
from headrace_client.bulk.rows.limits import DEFAULT_MAX_TEXT_BYTES
from headrace_client.bulk.rows.rendering import Rendered, records, rendered
from headrace_client.bulk.rows.rows import Rows
from headrace_client.bulk.rows.templates import Template
from headrace_client.bulk.rows.text.json_columns import JSON_METADATA
from headrace_client.wire.exact_json import exact_json

DEFAULT_COLUMNS = ("text", "input", "content")
_TRUNCATING = "shorten it, or let --truncate-text cut it"


class TextColumn:
    """Each row's text is the value of one column.

    Args:
        schema: The columns that there are.
        column: The one; by default ``text``, ``input`` or ``content``, or the only one with text.
        max_text_bytes: What a text may have as JSON, without its quotes.
        truncate_text: Cut a longer text, instead of failing its row.

    Raises:
        InputError: There is no such column, or it has no texts; the message lists the columns.
    """

    def __init__(
        self,
        schema: pa.Schema,
        column: str | None = None,
        *,
        max_text_bytes: int = DEFAULT_MAX_TEXT_BYTES,
        truncate_text: bool = False,
    ) -> None:
        if column is None:
            column = _default_column(schema)
        require_column(schema, column)
        if not _is_text(schema.field(column)):
            raise InputError(
                f"column {column!r} holds {schema.field(column).type}, not text: use --template "
                f'"{{{column}}}" to send it as text, or another of {listed(schema.names)}'
            )
        self._column = column
        self._limit = _Limit(max_text_bytes, truncate_text)

    @property
    def columns(self) -> tuple[str, ...]:
        return (self._column,)

    @property
    def fingerprint(self) -> dict[str, str | int | bool]:
        return {"column": self._column, **self._limit.fingerprint}

    def render(self, rows: Rows) -> Rendered:
        return rendered(rows, rows.values(self._column), self._payload)

    def _payload(self, value: Any) -> bytes | Fault:
        if type(value) is not str:
            return checks.not_text(self._column, value)
        if checks.is_blank(value):
            return checks.blank(self.columns)
        return self._limit.payload(value)


class TextTemplate:
    """Each row's text is a template over columns; see ``templates.Template``.

    Args: as for ``TextColumn``; ``template`` is the text with columns in braces.

    Raises:
        InputError: The template names what is no column, or none at all.
    """

    def __init__(
        self,
        template: str,
        schema: pa.Schema,
        *,
        max_text_bytes: int = DEFAULT_MAX_TEXT_BYTES,
        truncate_text: bool = False,
    ) -> None:
        self._text = template
        self._template = Template(template, schema)
        if not self._template.columns:
            raise InputError(
                "the template names no column, so that all texts would be the same: write one of "
                f"{listed(schema.names)} in braces"
            )
        self._limit = _Limit(max_text_bytes, truncate_text)

    @property
    def columns(self) -> tuple[str, ...]:
        return self._template.columns

    @property
    def fingerprint(self) -> dict[str, str | int | bool]:
        return {"template": self._text, **self._limit.fingerprint}

    def render(self, rows: Rows) -> Rendered:
        return rendered(rows, records(rows, self.columns), self._payload)

    def _payload(self, values: tuple[Any, ...]) -> bytes | Fault:
        texts: list[str] = []
        for name, value in zip(self.columns, values, strict=True):
            text = checks.as_text(name, value)
            if isinstance(text, Fault):
                return text
            texts.append(text)
        if all(map(checks.is_blank, texts)):
            return checks.blank(self.columns)
        return self._limit.payload(self._template.render(texts))


class _Limit:
    def __init__(self, max_text_bytes: int, truncate_text: bool) -> None:
        if max_text_bytes < 1:
            raise InputError(f"--max-text-bytes is {max_text_bytes}: at least 1 is needed")
        self._max_bytes = max_text_bytes
        self._truncate = truncate_text

    @property
    def fingerprint(self) -> dict[str, str | int | bool]:
        """A limit that fails rows changes no result; one that cuts them does."""
        return {"truncate_text_bytes": self._max_bytes} if self._truncate else {}

    def payload(self, text: str) -> bytes | Fault:
        payload = exact_json(text)
        size = len(payload) - 2
        if size <= self._max_bytes:
            return payload
        if self._truncate:
            return checks.truncated(text, self._max_bytes)
        return checks.too_large(size, self._max_bytes, _TRUNCATING)


def _default_column(schema: pa.Schema) -> str:
    for name in DEFAULT_COLUMNS:
        if name in schema.names:
            return name
    with_text = [each.name for each in schema if _is_text(each)]
    if len(with_text) == 1:
        return str(with_text[0])
    raise InputError(
        f"which column is the text? Name it by --column, or write a --template: there are "
        f"{listed(schema.names)}"
    )


def _is_text(column: pa.Field) -> bool:
    metadata: Mapping[bytes, bytes] | None = column.metadata
    kinds = (
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_binary,
        pa.types.is_large_binary,
    )
    return metadata != JSON_METADATA and any(kind(column.type) for kind in kinds)
