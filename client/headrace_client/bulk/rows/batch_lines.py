"""Rows that are requests already: lines of an OpenAI Batch input file."""

from dataclasses import replace
from typing import Any

import pyarrow as pa

from headrace_client.bulk.rows import checks
from headrace_client.bulk.rows.errors import Fault
from headrace_client.bulk.rows.limits import DEFAULT_MAX_TEXT_BYTES
from headrace_client.bulk.rows.rendering import Rendered, records, rendered
from headrace_client.bulk.rows.rows import Rows
from headrace_client.wire.exact_json import exact_json

COLUMNS = ("custom_id", "url", "body")
_CUSTOM_ID_CHARACTERS = 512
_URL_CHARACTERS = 256
_CODE = "invalid_request_line"


def are_batch_lines(schema: pa.Schema) -> bool:
    """Return whether an input's columns are those of request lines."""
    return set(COLUMNS) <= set(schema.names)


class BatchLines:
    """Each row is a request line: its body goes as it is, to its own endpoint.

    Args:
        model: Put into bodies that name no model.
        max_text_bytes: What a body may have as JSON.
    """

    def __init__(
        self, *, model: str | None = None, max_text_bytes: int = DEFAULT_MAX_TEXT_BYTES
    ) -> None:
        self._model = model
        self._max_bytes = max_text_bytes

    @property
    def columns(self) -> tuple[str, ...]:
        return COLUMNS

    @property
    def fingerprint(self) -> dict[str, str | int | bool]:
        lines: dict[str, str | int | bool] = {"lines": "openai-batch"}
        return lines if self._model is None else {**lines, "model": self._model}

    def render(self, rows: Rows) -> Rendered:
        lines = list(records(rows, COLUMNS))
        bodies = rendered(rows, lines, self._payload)
        return replace(
            bodies,
            # A line that fails for its body is still found by its name.
            custom_ids=[each if isinstance(each, str) else "" for each, _, _ in lines],
            urls=[
                url if payload else ""
                for (_, url, _), payload in zip(lines, bodies.payloads, strict=True)
            ],
        )

    def _payload(self, line: tuple[Any, Any, Any]) -> bytes | Fault:
        fault = _line_fault(*line)
        if fault is not None:
            return fault
        body = line[2]
        if self._model is not None and body.get("model") is None:
            body = {**body, "model": self._model}
        payload = exact_json(body)
        if len(payload) > self._max_bytes:
            return checks.too_large(len(payload), self._max_bytes, "shorten its texts")
        return payload


def _line_fault(custom_id: Any, url: Any, body: Any) -> Fault | None:
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= _CUSTOM_ID_CHARACTERS:
        return Fault(_CODE, f"custom_id must be a text of 1 to {_CUSTOM_ID_CHARACTERS} characters")
    if not isinstance(url, str) or not 0 < len(url) <= _URL_CHARACTERS:
        return Fault(_CODE, f"url must be a text of 1 to {_URL_CHARACTERS} characters")
    if not isinstance(body, dict):
        return Fault(_CODE, "body must be an object, the request's body as the endpoint takes it")
    return None
