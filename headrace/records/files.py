"""Opens files of request lines, compressed or not, and checks them before anything is sent."""

import gzip
import io
import mmap
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import cast

import cramjam

from headrace.errors import UserError
from headrace.records.json_values import BrokenFileError
from headrace.records.lines import BadLine
from headrace.records.request_lines import RequestLines
from headrace.records.submission import MAX_LINE_BYTES

STDIN = "-"
READ_BYTES = 1024 * 1024
MOST_SHOWN = 5

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_FOREIGN = {
    b"BZh": "compressed by bzip2",
    b"\xfd7zX": "compressed by xz",
    b"\x04\x22\x4d\x18": "compressed by lz4",
    b"PK\x03\x04": "a zip archive",
    b"PAR1": "a Parquet file",
}
_HEAD_BYTES = 4


@contextmanager
def open_file(name: str) -> Iterator[io.BufferedReader]:
    if name == STDIN:
        yield cast("io.BufferedReader", sys.stdin.buffer)
        return
    with ExitStack() as stack:
        try:
            source = stack.enter_context(Path(name).open("rb"))
        except OSError as error:
            raise UserError(f"{name}: cannot be read ({error.strerror})") from None
        yield source


@contextmanager
def decompressed(source: io.BufferedReader, name: str) -> Iterator[io.BufferedIOBase]:
    """Yield a file's bytes, decompressed; raises ``UserError`` for a broken or unknown format."""
    head = source.peek(_HEAD_BYTES)[:_HEAD_BYTES]
    for magic, kind in _FOREIGN.items():
        if head.startswith(magic):
            raise UserError(
                f"{name}: is {kind}; submit takes JSON lines, plain or compressed by gzip or zstd"
            )
    with ExitStack() as stack:
        if head.startswith(_GZIP):
            yield stack.enter_context(gzip.GzipFile(fileobj=source))
        elif head == _ZSTD:
            yield stack.enter_context(_unpacked_zstd(source, name))
        else:
            yield source


@contextmanager
def _unpacked_zstd(source: io.BufferedReader, name: str) -> Iterator[io.BufferedIOBase]:
    """Unpack into a temporary file: cramjam reads and writes in pieces only from and to files."""
    with tempfile.NamedTemporaryFile() as packed, tempfile.NamedTemporaryFile() as plain:
        shutil.copyfileobj(source, packed)
        packed.flush()
        with mmap.mmap(packed.fileno(), 0, access=mmap.ACCESS_READ) as view:
            try:
                unpacked = cramjam.File(plain.name, read=True, write=True, truncate=True)
                cramjam.zstd.decompress_into(view, unpacked)
            except cramjam.DecompressionError as error:
                raise UserError(f"{name}: is broken zstd ({error}); nothing sent") from None
        with Path(plain.name).open("rb") as lines:
            yield lines


def read_some(source: io.BufferedIOBase) -> bytes:
    """Return up to ``READ_BYTES``, as a pipe has them; ``BrokenFileError`` for broken gzip."""
    try:
        return source.read1(READ_BYTES)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BrokenFileError(1, f"or a later one is broken gzip ({error})") from None


def check_lines(source: io.BufferedIOBase, name: str, show: Callable[[int], None]) -> None:
    """Read all; ``UserError`` shows the first bad lines. ``show`` gets the bytes so far."""
    lines = RequestLines(MAX_LINE_BYTES)
    bad: list[BadLine] = []
    read_bytes = 0
    try:
        while data := read_some(source):
            read_bytes += len(data)
            show(read_bytes)
            bad += (line for line in lines.feed(data) if isinstance(line, BadLine))
            if len(bad) > MOST_SHOWN:
                break
        else:
            bad += (line for line in lines.finish() if isinstance(line, BadLine))
    except BrokenFileError as error:
        bad.append(BadLine(error.number, error.reason))
    if bad:
        shown = [f"line {line.number} {line.reason}" for line in bad[:MOST_SHOWN]]
        if len(bad) > MOST_SHOWN:
            shown.append("… and more")
        advice = "nothing was sent; mend it, or send its lines as they are with --unchecked"
        raise UserError("\n".join([f"{name}: {advice}", *shown]))
