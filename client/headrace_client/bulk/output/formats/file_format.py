"""What parts, the end and a merge ask of a format."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from headrace_client.bulk.output.answered import AnsweredRows
from headrace_client.bulk.output.files import FileSink

Block = Any
"""Some rows of OUT in memory: a record batch, lines, or an array, as the format has them."""


class BlockWriter(Protocol):
    """Writes one file."""

    def write(self, block: Block) -> None: ...

    def finish(self) -> None:
        """Write what makes the file whole; nothing may follow."""

    def abandon(self) -> None:
        """Nothing more is written, nor kept in memory."""


class BlockReader(Protocol):
    """Rows of one or more files, one after another."""

    def take(self, rows: int) -> Iterator[Block]:
        """The next ``rows`` rows, fewer at the end, in blocks of bounded size."""


ALL_ROWS = 1 << 62


class FileFormat(Protocol):
    """A format with its columns; a file of it holds rows of one length of vectors."""

    suffix: str
    keeps_failed: bool
    """Failed rows have a place in OUT."""
    parts: "FileFormat"
    """What parts are; mostly the same."""

    def block(self, rows: AnsweredRows, dimensions: int | None) -> Block:
        """What of these rows goes to OUT."""

    def block_rows(self, block: Block) -> int: ...

    def block_bytes(self, block: Block) -> int: ...

    def writer(self, sink: FileSink, dimensions: int | None) -> BlockWriter: ...

    def reader(self, paths: Sequence[Path], dimensions: int | None) -> BlockReader: ...

    def dimensions(self, path: Path) -> int | None:
        """The length of a file's vectors; ``None`` where it has none."""

    def check(self, path: Path, rows: int) -> None:
        """Raises ``ValueError``, and what its library raises, unless the file is whole."""

    def join(self, paths: Sequence[Path], sink: FileSink, dimensions: int | None) -> None:
        """Write the rows of several files as one."""
