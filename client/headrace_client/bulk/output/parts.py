"""Rows become parts: complete files of OUT's format, durable before a checkpoint names them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headrace_client.bulk.output.answered import AnsweredRows
from headrace_client.bulk.output.layout import Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A finished part, to be stored in the checkpoint as ``to_json``."""

    name: str
    first_row: int
    """The lowest row number in it."""
    end_row: int
    """One above the highest."""
    rows: int
    """In OUT."""
    size_bytes: int
    """0: it has no file, since it has no rows in OUT."""
    failed_rows: int
    failed_bytes: int
    dimensions: int | None

    def to_json(self) -> dict[str, Any]: ...

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Part": ...


class PartWriter:
    """Writes answered rows as parts in ``STATE/parts``.

    What was written since the last finished part is lost by a crash; its rows are answered anew
    from Kafka. So a checkpoint is: ``finish_part``, the stores' ``sync``, then one transaction that
    names all parts.
    """

    def __init__(self, layout: Layout, state_directory: Any, *, rows_expected: int | None = None) -> None:
        self.rows_expected = rows_expected

    def recover(self, parts: Sequence[Part]) -> None:
        """Go on after these parts; what the checkpoint does not name is deleted. Call it once.

        Raises:
            PartsBroken: one of them is missing or damaged.
        """

    def write(self, rows: AnsweredRows) -> None:
        """Raises ``DiskFull``, ``ModelChanged``, ``OutputError``."""

    @property
    def is_due(self) -> bool:
        """The open part has the size of a part: finish it, and write a checkpoint."""

    def finish_part(self) -> Part | None:
        """Make the open part durable; ``None`` where nothing was written since the last one."""

    @property
    def parts(self) -> list[Part]:
        """All finished parts in order."""

    @property
    def dimensions(self) -> int | None:
        """Components (or bytes, for binary) of a vector; ``None`` before the first one."""

    def abandon(self) -> None:
        """Close what is open without finishing it."""
