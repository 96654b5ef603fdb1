"""The columns that there are, for messages."""

from collections.abc import Sequence

import pyarrow as pa

from headrace_client.bulk.rows.errors import InputError

_MOST_NAMED = 40


def require_column(schema: pa.Schema, name: str) -> None:
    """Raise ``InputError``, which lists the columns, if there is no such column."""
    if name not in schema.names:
        raise InputError(f"there is no column {name!r}: the input has {listed(schema.names)}")


def listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMED])
    rest = len(names) - _MOST_NAMED
    return f"{shown} and {rest} more" if rest > 0 else shown
