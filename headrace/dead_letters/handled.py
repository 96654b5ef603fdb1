"""Remembers which dead letters of a partition were handled: replayed or purged. Pure.

A bit for each offset, in pages of ``PAGE_OFFSETS``, so that filters may leave any pattern of holes
and a batch rewrites one small page. A page remembers one of its records by a fingerprint: if the
topic is deleted and created again, its offsets begin again, and what was handled before must not
hide new dead letters.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from headrace.records.reading import TopicRecord

PAGE_OFFSETS = 65_536
_PAGE_BYTES = PAGE_OFFSETS // 8
_VERSION = 1
_HEADER = struct.Struct(">BQI")


class HandledPageError(ValueError):
    """A page is damaged, or of another release."""


class Witness(NamedTuple):
    offset: int
    fingerprint: int


def fingerprint(record: TopicRecord) -> int:
    """Return a checksum of a record that another record at its offset would hardly have."""
    head = repr((record.timestamp_ms, record.key, record.headers)).encode()
    return zlib.crc32(record.value or b"", zlib.crc32(head))


class HandledOffsets:
    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}
        self._witnesses: dict[int, Witness] = {}
        self._changed: set[int] = set()

    def __contains__(self, offset: int) -> bool:
        number, position = divmod(offset, PAGE_OFFSETS)
        page = self._pages.get(number)
        return page is not None and bool(page[position >> 3] >> (position & 7) & 1)

    @property
    def witness(self) -> Witness | None:
        return self._witnesses[max(self._witnesses)] if self._witnesses else None

    def mark(self, record: TopicRecord) -> None:
        number, position = divmod(record.offset, PAGE_OFFSETS)
        page = self._pages.setdefault(number, bytearray(_PAGE_BYTES))
        page[position >> 3] |= 1 << (position & 7)
        self._witnesses[number] = Witness(record.offset, fingerprint(record))
        self._changed.add(number)

    def first_unhandled(self, start: int) -> int:
        offset = start
        while True:
            number, position = divmod(offset, PAGE_OFFSETS)
            page = self._pages.get(number)
            if page is None:
                return offset
            if position % 8 == 0 and page[position >> 3] == 0xFF:
                offset += 8
            elif page[position >> 3] >> (position & 7) & 1:
                offset += 1
            else:
                return offset

    def forget_below(self, offset: int) -> None:
        self._drop([number for number in self._pages if (number + 1) * PAGE_OFFSETS <= offset])

    def forget_all(self) -> None:
        self._drop(list(self._pages))

    def take_changes(self) -> Iterator[tuple[int, bytes | None]]:
        """Yield the pages that changed since the last call: number, and bytes or ``None``."""
        changed, self._changed = self._changed, set()
        for number in sorted(changed):
            page = self._pages.get(number)
            if page is None:
                yield number, None
            else:
                head = _HEADER.pack(_VERSION, *self._witnesses[number])
                yield number, head + zlib.compress(page)

    def load(self, number: int, encoded: bytes | None) -> None:
        """Read a page of ``take_changes``; raises ``HandledPageError`` for a damaged one."""
        if encoded is None:
            self._pages.pop(number, None)
            self._witnesses.pop(number, None)
            return
        try:
            version, offset, checksum = _HEADER.unpack_from(encoded)
            inflater = zlib.decompressobj()
            page = inflater.decompress(encoded[_HEADER.size :], _PAGE_BYTES + 1)
        except (struct.error, zlib.error) as error:
            raise HandledPageError(f"page {number} is damaged: {error}") from error
        if version != _VERSION or len(page) != _PAGE_BYTES or not inflater.eof:
            raise HandledPageError(f"page {number} is damaged, or of another release")
        self._pages[number] = bytearray(page)
        self._witnesses[number] = Witness(offset, checksum)

    def _drop(self, numbers: list[int]) -> None:
        for number in numbers:
            del self._pages[number]
            del self._witnesses[number]
            self._changed.add(number)
