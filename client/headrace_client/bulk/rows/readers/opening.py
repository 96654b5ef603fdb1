"""The reader of a file by its format, once its beginning is what its name says."""

from dataclasses import replace

from headrace_client.bulk.rows.errors import InputError
from headrace_client.bulk.rows.files.finding import InputFile
from headrace_client.bulk.rows.files.formats import (
    BEGINNING_BYTES,
    TEXT_FORMATS,
    Format,
    check_beginning,
    contents_of,
)
from headrace_client.bulk.rows.readers.arrow_ipc import arrow_reader
from headrace_client.bulk.rows.readers.csv_records import CsvReader
from headrace_client.bulk.rows.readers.jsonl import JsonlReader
from headrace_client.bulk.rows.readers.lance_dataset import LanceReader
from headrace_client.bulk.rows.readers.parquet import ParquetReader
from headrace_client.bulk.rows.readers.reading import Reader
from headrace_client.bulk.rows.readers.text_lines import TextReader

_COMPRESSIONS = {"gzip", "zstd"}


def open_reader(file: InputFile) -> Reader:
    """Look at a file, and return its reader. Raises ``InputError``, which names the file."""
    if file.format is Format.LANCE:
        return LanceReader(file)
    try:
        beginning = _beginning(file)
    except OSError as error:
        raise InputError(f"{file.path} cannot be read: {error}") from None
    if file.format in TEXT_FORMATS and not file.says_its_format:
        found = contents_of(beginning)
        if found in _COMPRESSIONS:
            file = replace(file, compression=found)
    check_beginning(file.path, file.format, file.compression, beginning)
    match file.format:
        case Format.JSONL:
            return JsonlReader(file)
        case Format.CSV | Format.TSV:
            return CsvReader(file)
        case Format.TEXT:
            return TextReader(file)
        case Format.PARQUET:
            return ParquetReader(file)
        case _:
            return arrow_reader(file)


def _beginning(file: InputFile) -> bytes:
    beginning = b""
    with file.open() as raw:
        while len(beginning) < BEGINNING_BYTES and (
            data := raw.read(BEGINNING_BYTES - len(beginning))
        ):
            beginning += data
    return beginning
