"""Lance datasets, where the package is installed."""

from collections.abc import Iterator
from hashlib import blake2b
from importlib import import_module
from typing import Any

from headrace_client.bulk.rows.errors import InputError
from headrace_client.bulk.rows.files.finding import InputFile
from headrace_client.bulk.rows.readers.arrow_batches import chunks, plain_schema
from headrace_client.bulk.rows.readers.reading import BATCH_ROWS, Chunk, Selection

_FRAGMENTS_AHEAD = 1
_BATCHES_AHEAD = 2
_BUFFER_BYTES = 32 << 20


class LanceReader:
    """Reads the version of a dataset that is the latest when it is opened.

    Raises ``InputError`` if the package is missing, or the folder is no dataset.
    """

    def __init__(self, file: InputFile) -> None:
        self.file = file
        self._dataset = _open(file)
        self.schema = plain_schema(self._dataset.schema, file)
        self._fragments = self._dataset.get_fragments()
        self._fragment_rows = [int(each.count_rows()) for each in self._fragments]
        self.rows: int | None = sum(self._fragment_rows)

    @property
    def fragments(self) -> int:
        return len(self._fragments)

    def checksum(self, fragments: int) -> str:
        """Return what changes when rows of the first fragments do."""
        digest = blake2b(digest_size=16)
        for each, rows in zip(
            self._fragments[:fragments], self._fragment_rows[:fragments], strict=True
        ):
            files = sorted(str(file.path) for file in each.metadata.files)
            digest.update(f"{each.fragment_id} {rows} {files}\n".encode())
        return digest.hexdigest()

    def read(self, selection: Selection, skipped: int) -> Iterator[Chunk]:
        first = 0
        for fragment, rows in zip(self._fragments, self._fragment_rows, strict=True):
            if first + rows > skipped:
                yield from self._read_fragment(fragment, selection, first, max(0, skipped - first))
            first += rows

    def _read_fragment(
        self, fragment: Any, selection: Selection, first: int, skipped: int
    ) -> Iterator[Chunk]:
        try:
            scanner = self._dataset.scanner(
                columns=selection.names,
                fragments=[fragment],
                offset=skipped or None,
                batch_size=BATCH_ROWS,
                scan_in_order=True,
                fragment_readahead=_FRAGMENTS_AHEAD,
                batch_readahead=_BATCHES_AHEAD,
                io_buffer_size=_BUFFER_BYTES,
            )
            first += skipped
            for batch in scanner.to_batches():
                yield from chunks(batch, selection, first, 0)
                first += batch.num_rows
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self.file.path}: fragment {fragment.fragment_id} cannot be read: {error}"
            ) from None


def _open(file: InputFile) -> Any:
    try:
        lance = import_module("lance")
    except ImportError:
        raise InputError(
            f"{file.path} is a Lance dataset, and the package that reads those is not installed: "
            "pip install 'headrace-client[lance]'"
        ) from None
    options = {str(key): str(value) for key, value in file.storage_options.items()} or None
    try:
        return lance.dataset(file.path, storage_options=options)
    except (OSError, ValueError) as error:
        raise InputError(f"{file.path} is no Lance dataset that can be read: {error}") from None
