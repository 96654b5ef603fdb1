"""Standard input as a file: its beginning is looked at, then it is read once."""

import io
from typing import BinaryIO

from headrace_client.bulk.rows.errors import InputError
from headrace_client.bulk.rows.files.finding import InputFile
from headrace_client.bulk.rows.files.formats import STREAMED_FORMATS, Format


class StandardInput:
    """Opens at the beginning as often as one likes, until the last time.

    What is read before is kept in memory: the beginning of the file, or its first line.
    """

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._kept = bytearray()
        self._last = False
        self._taken = False

    def open(self) -> BinaryIO:
        if self._taken:
            raise InputError("standard input can be read only once: name a file instead")
        self._taken = self._last
        return _FromBeginning(self)  # type: ignore[return-value]  # has what readers need of it

    def open_last(self) -> None:
        """The next opening is the last one: nothing more is kept."""
        self._last = True

    def read_at(self, position: int, size: int) -> bytes:
        if position < len(self._kept):
            end = len(self._kept) if size < 0 else position + size
            return bytes(self._kept[position:end])
        data = self._raw.read(size)
        # Readers of Arrow take less than they asked for as the end.
        while 0 < len(data) < size and (more := self._raw.read(size - len(data))):
            data += more
        if self._last:
            self._kept.clear()
        else:
            self._kept += data
        return data


class _FromBeginning(io.RawIOBase):
    def __init__(self, source: StandardInput) -> None:
        super().__init__()
        self._source = source
        self._position = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read_at(self._position, size)
        self._position += len(data)
        return data


def standard_input_file(source: StandardInput, file_format: Format | None) -> InputFile:
    """Describe standard input as a file. Raises ``InputError`` for a format that needs one."""
    chosen = file_format or Format.JSONL
    if chosen not in STREAMED_FORMATS:
        raise InputError(
            f"{chosen} cannot be read from standard input, as it is read from its end: name a file"
        )
    return InputFile(
        path="standard input",
        format=chosen,
        compression=None,
        size=None,
        modified="",
        says_its_format=False,
        opener=lambda _: source.open(),
    )
