"""The formats of OUT: each writes blocks of rows to a file, and reads them back."""

from headrace_client.bulk.output.formats.choice import file_format
from headrace_client.bulk.output.formats.file_format import BlockWriter, FileFormat

__all__ = ["BlockWriter", "FileFormat", "file_format"]
