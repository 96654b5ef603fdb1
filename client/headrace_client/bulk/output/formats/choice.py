"""The format of a layout."""

from headrace_client.bulk.output.formats.columnar import ArrowIpc, Parquet
from headrace_client.bulk.output.formats.file_format import FileFormat
from headrace_client.bulk.output.formats.jsonl import JsonLines
from headrace_client.bulk.output.formats.lance import Lance
from headrace_client.bulk.output.formats.npy import Npy
from headrace_client.bulk.output.layout import Layout, OutFormat


def file_format(layout: Layout) -> FileFormat:
    """Raises ``OutputUsageError`` where its package is not installed."""
    match layout.format:
        case OutFormat.PARQUET:
            return Parquet(layout)
        case OutFormat.ARROW:
            return ArrowIpc(layout)
        case OutFormat.JSONL:
            return JsonLines(layout)
        case OutFormat.NPY:
            return Npy(layout)
        case OutFormat.LANCE:
            return Lance(layout)
