"""Formats of input files: which there are, and what a file's name and first bytes say."""

from enum import StrEnum
from pathlib import PurePosixPath

from headrace_client.bulk.rows.errors import InputError


class Format(StrEnum):
    JSONL = "jsonl"
    """One JSON object a line."""
    CSV = "csv"
    """Fields as text, the first record names them; commas, semicolons, bars or tabs between."""
    TSV = "tsv"
    """CSV with tabs."""
    PARQUET = "parquet"
    ARROW = "arrow"
    """Arrow IPC, as a file (Feather) or as a stream."""
    LANCE = "lance"
    """A Lance dataset, which is a folder."""
    TEXT = "txt"
    """One text a line, in the column ``text``."""


TEXT_FORMATS = frozenset({Format.JSONL, Format.CSV, Format.TSV, Format.TEXT})
"""Formats that are read line by line, and may be compressed as a whole."""
STREAMED_FORMATS = TEXT_FORMATS | {Format.ARROW}
"""Formats that standard input may have."""

_SUFFIXES = {
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".json": Format.JSONL,
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".tab": Format.TSV,
    ".parquet": Format.PARQUET,
    ".pq": Format.PARQUET,
    ".arrow": Format.ARROW,
    ".arrows": Format.ARROW,
    ".feather": Format.ARROW,
    ".ipc": Format.ARROW,
    ".lance": Format.LANCE,
    ".txt": Format.TEXT,
}
_COMPRESSIONS = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd"}
_BEGINNINGS = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow"),
    (b"FEA1", "Feather of version 1"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ", "xz"),
    (b"PK\x03\x04", "a ZIP archive or an Excel sheet"),
    (b"Obj\x01", "Avro"),
    (b"ORC", "ORC"),
)
BEGINNING_BYTES = 8


def format_of(path: str) -> tuple[Format | None, str | None]:
    """Return format and compression by a path's suffixes, ``None`` where they do not say."""
    suffixes = [each.lower() for each in PurePosixPath(path).suffixes]
    compression = _COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    if compression is not None:
        suffixes.pop()
    return (_SUFFIXES.get(suffixes[-1]) if suffixes else None), compression


def require_format(path: str) -> tuple[Format, str | None]:
    found, compression = format_of(path)
    if found is None:
        raise InputError(
            f"{path}: its name does not say what it is; name its format by --format "
            f"({', '.join(Format)}), or rename it: known are {', '.join(sorted(_SUFFIXES))}, "
            "of which text formats may have .gz or .zst behind them"
        )
    if compression is not None and found not in TEXT_FORMATS:
        raise InputError(
            f"{path}: {found} is compressed inside, not as a whole file; decompress it "
            f"({'gunzip' if compression == 'gzip' else 'unzstd'}) and name the result"
        )
    return found, compression


def contents_of(beginning: bytes) -> str | None:
    """Return what a file holds by its first bytes; ``None`` for text and anything unknown."""
    for magic, name in _BEGINNINGS:
        if beginning.startswith(magic):
            return name
    return None


def check_beginning(
    path: str, file_format: Format, compression: str | None, beginning: bytes
) -> None:
    """Compare a file's first bytes, as stored, with what its name says. Raises ``InputError``."""
    if not beginning:
        raise InputError(f"{path} is empty (0 bytes): leave it out, or write it again")
    found = contents_of(beginning)
    said = compression or file_format.value
    if found in {"gzip", "zstd"} and compression is None:
        suffix = ".gz" if found == "gzip" else ".zst"
        raise InputError(
            f"{path} holds {found} data, which its name does not say: rename it to …{suffix}, "
            f"or name its format by --format {file_format}, which looks for itself"
        )
    if compression is not None and found != compression:
        raise InputError(
            f"{path} is not {compression}, as its name says: {_seems(found)}; rename it, or "
            "compress it again"
        )
    if file_format is Format.PARQUET and found != "parquet":
        raise InputError(f"{path} is not Parquet, as its name says: {_seems(found)}")
    if file_format is Format.ARROW and found not in {"arrow", None}:
        advice = "; write it again with pyarrow.feather.write_feather" if found else ""
        raise InputError(f"{path} is not Arrow IPC, as its name says: {_seems(found)}{advice}")
    if file_format in TEXT_FORMATS and found is not None and found != compression:
        raise InputError(f"{path} is not {said}, as its name says: {_seems(found)}; rename it")


def _seems(found: str | None) -> str:
    return f"it holds {found}" if found else "its first bytes are those of no such file"
