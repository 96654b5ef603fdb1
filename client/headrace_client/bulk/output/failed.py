"""The failed file: a line of JSON for each row without an answer, in the order of rows.

``{"row": 17, "code": "...", "message": "...", "retryable": true, "columns": {...}}``, rows from 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class FailedRow:
    row: int
    code: str
    message: str
    retryable: bool
    columns: dict[str, Any]


def read_failed(path: Path) -> Iterator[FailedRow]:
    """Rows of a failed file in order; a line that is not one raises ``OutputError`` with its number."""
    raise NotImplementedError
