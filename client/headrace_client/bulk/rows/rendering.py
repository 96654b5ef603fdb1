"""What rows become: JSON values to send, or reasons why a row cannot be sent."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from headrace_client.bulk.rows.errors import Fault, RowFailure
from headrace_client.bulk.rows.rows import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """What a batch of rows became.

    Attributes:
        first_row: The number of the first row.
        payloads: For each row its JSON, as it stands in a request: a text for ``bulk embed``
            (``"..."``, with its quotes), a body for ``bulk run`` (``{...}``). Empty where the row
            failed. Their lengths are what grouping counts.
        failures: Rows that cannot be sent, by row number; those that could not be read among them.
        custom_ids: The custom_id of each row, where rows are lines of an OpenAI Batch input.
        urls: The endpoint of each row, under the same condition.
    """

    first_row: int
    payloads: list[bytes]
    failures: dict[int, RowFailure] = field(default_factory=dict)
    custom_ids: list[str] | None = None
    urls: list[str] | None = None


class Renderer(Protocol):
    """Makes JSON values of rows."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it needs."""

    @property
    def fingerprint(self) -> dict[str, str | int | bool]:
        """All of it that changes results, for the manifest."""

    def render(self, rows: Rows) -> Rendered: ...


def rendered(
    rows: Rows, values: Iterable[Any], payload_of: Callable[[Any], bytes | Fault]
) -> Rendered:
    """Make JSON of each row's value, but of rows that could not be read."""
    failures = dict(rows.failures)
    payloads: list[bytes] = []
    for row, value in enumerate(values, rows.first_row):
        payload = b"" if row in failures else payload_of(value)
        if isinstance(payload, Fault):
            failures[row] = RowFailure(payload.code, payload.message, rows.place(row))
            payload = b""
        payloads.append(payload)
    return Rendered(first_row=rows.first_row, payloads=payloads, failures=failures)


def records(rows: Rows, columns: Iterable[str]) -> Iterable[tuple[Any, ...]]:
    """Return the values of some columns, row by row."""
    return zip(*map(rows.values, columns), strict=True)
