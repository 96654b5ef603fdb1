"""Plain text: one text a line, in the column ``text``.

A blank line is a row, so that rows have the numbers of lines.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from headrace_client.bulk.rows.errors import Fault, InputError
from headrace_client.bulk.rows.files.finding import InputFile
from headrace_client.bulk.rows.readers.reading import (
    BATCH_ROWS,
    Chunk,
    Selection,
    record_batch,
)
from headrace_client.bulk.rows.rows import MISSING
from headrace_client.bulk.rows.text.lines import LONG_LINE, MAX_LINE_BYTES, read_blocks, read_sample

COLUMN = "text"


class TextReader:
    """Reads a file of texts. Raises ``InputError`` if it is empty or no text."""

    def __init__(self, file: InputFile) -> None:
        self.file = file
        self.rows: int | None = None
        self.schema = pa.schema([pa.field(COLUMN, pa.string())])
        lines = read_sample(file)
        if not lines:
            raise InputError(f"{file.path} is empty: leave it out, or write it again")
        if any(b"\0" in line for line in lines):
            raise InputError(f"{file.path} is not text: there are zero bytes in its first lines")

    def read(self, selection: Selection, skipped: int) -> Iterator[Chunk]:
        first = 0
        for block in read_blocks(self.file):
            start = min(max(skipped - first, 0), len(block.lines))
            first += start
            for low in range(start, len(block.lines), BATCH_ROWS):
                some = block.lines[low : low + BATCH_ROWS]
                yield _chunk(some, block.first_line + low, selection, first, block.bytes_read)
                first += len(some)
        self.rows = first


def _chunk(
    lines: list[bytes], first_line: int, selection: Selection, first: int, bytes_read: int
) -> Chunk:
    texts: list[str | None] = []
    faults: dict[int, Fault] = {}
    for index, line in enumerate(lines):
        try:
            texts.append(line.removesuffix(b"\r").decode())
        except UnicodeDecodeError as error:
            texts.append(None)
            faults[index] = Fault(
                "invalid_utf8", f"byte {error.start + 1} of the line is not UTF-8: {error.reason}"
            )
        if line is LONG_LINE:
            texts[index] = None
            faults[index] = Fault(
                "too_large", f"the line is over {MAX_LINE_BYTES:,} bytes, so it was not read"
            )

    def values_of(_: str) -> list[Any]:
        return [MISSING if text is None else text for text in texts]

    return Chunk(
        first=first,
        carried=record_batch(
            [pa.array(texts, pa.string()) for _ in selection.carried],
            selection.carried,
            len(texts),
        ),
        values=values_of,
        faults=faults,
        lines=range(first_line, first_line + len(lines)),
        bytes_read=bytes_read,
    )
