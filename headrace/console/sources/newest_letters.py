"""The newest dead letters as rows, without their values. Pure.

Whoever sends requests chooses how large dead letters are, and who writes to their topic what they
say. So a row is bounded, the number of rows is, and what is read is counted in bytes.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heappush, heappushpop
from operator import itemgetter

from headrace.console.ports import LetterPage, LetterRow
from headrace.dead_letters.inbox import Inbox
from headrace.dead_letters.letter import DeadLetter
from headrace.records.reading import LogRange, TopicRecord

MOST_ROWS = 200
MOST_KEPT_ROWS = 2_000
"""So that a page of one reason has rows, where others failed more often."""
MOST_MESSAGE_CHARACTERS = 600
MOST_ID_CHARACTERS = 128
MOST_PARSED_BYTES = 256 * 1024
"""A larger value is not parsed for its custom_id; the record's key stands for that."""


@dataclass(slots=True)
class NewestLetters:
    """What was read of some topics.

    Attributes:
        read_bytes: Of keys, values and headers, with those of records that are not shown.
        unhandled_offsets: Offsets with a dead letter that is not handled, at most.
        unread_topics: Topics that could not be read, or not to the end, with the reason.
    """

    read_bytes: int = 0
    unhandled_offsets: int = 0
    unread_topics: list[str] = field(default_factory=list)
    _reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    _heap: list[tuple[int, int, LetterRow]] = field(default_factory=list)
    _number: int = 0

    def add(self, rows: Iterable[LetterRow]) -> None:
        for row in rows:
            self._reasons[row.route, row.error_code] += 1
            # The number decides between two of the same moment: rows are not compared.
            self._number += 1
            entry = row.failed_at_ms, self._number, row
            if len(self._heap) < MOST_KEPT_ROWS:
                heappush(self._heap, entry)
            else:
                heappushpop(self._heap, entry)

    def page(self, route: str | None, error_code: str | None) -> LetterPage:
        def is_wanted(of_route: str, with_code: str) -> bool:
            return (route is None or of_route == route[:MOST_ID_CHARACTERS]) and (
                error_code is None or with_code == error_code[:MOST_ID_CHARACTERS]
            )

        found = [each for each in self._heap if is_wanted(each[2].route, each[2].error_code)]
        found.sort(key=itemgetter(0, 1), reverse=True)
        reasons = Counter({reason: n for reason, n in self._reasons.items() if is_wanted(*reason)})
        return LetterPage(
            rows=[row for _, _, row in found[:MOST_ROWS]],
            by_reason=[(*reason, records) for reason, records in reasons.most_common(100)],
            read_records=reasons.total(),
            unhandled_offsets=self.unhandled_offsets,
            unread_topics=list(self.unread_topics),
        )


def rows_of(inbox: Inbox, records: Iterable[TopicRecord]) -> list[LetterRow]:
    """Return the rows of the dead letters that are not handled."""
    found = map(inbox.find, records)
    return [
        _row(each.letter, each.route)
        for each in found
        if each.letter is not None and not each.is_handled
    ]


def size_bytes(record: TopicRecord) -> int:
    parts = [record.key, record.value, *(value for _, value in record.headers)]
    return sum(len(each) for each in parts if each is not None)


def newest_ranges(ranges: Mapping[int, LogRange], most_offsets: int) -> dict[int, LogRange]:
    """Return the ends of the ranges, together at most so many offsets, as even as they allow."""
    left, found = most_offsets, {}
    by_size = sorted(ranges.items(), key=lambda each: each[1].end - each[1].start)
    for place, (number, each) in enumerate(by_size):
        share = left // (len(by_size) - place)
        size = min(each.end - each.start, share)
        found[number] = LogRange(each.end - size, each.end)
        left -= size
    return found


def from_the_end(ranges: Mapping[int, LogRange], most_offsets: int) -> list[dict[int, LogRange]]:
    """Return what ``newest_ranges`` does in pieces, the newest first, each larger than the last."""
    pieces: list[dict[int, LogRange]] = []
    ends = {number: each.end for number, each in ranges.items()}
    for most in sorted({min(each, most_offsets) for each in (_FIRST_OFFSETS, 400, most_offsets)}):
        newest = newest_ranges(ranges, most)
        starts = {number: min(each.start, ends[number]) for number, each in newest.items()}
        pieces.append({number: LogRange(starts[number], ends[number]) for number in newest})
        ends = starts
    return pieces


_FIRST_OFFSETS = 50


def _row(letter: DeadLetter, route: str) -> LetterRow:
    value, key = letter.record.value, letter.record.key
    if value is None or len(value) <= MOST_PARSED_BYTES:
        custom_id = letter.custom_id()
    else:
        custom_id = None if key is None else key[: 4 * MOST_ID_CHARACTERS].decode(errors="replace")
    return LetterRow(
        place=str(letter.record.place),
        source=str(letter.source),
        route=route[:MOST_ID_CHARACTERS],
        custom_id=None if custom_id is None else custom_id[:MOST_ID_CHARACTERS],
        error_code=letter.error_code[:MOST_ID_CHARACTERS],
        error_message=letter.error_message[:MOST_MESSAGE_CHARACTERS],
        attempts=letter.attempts,
        failed_at_ms=letter.failed_at_ms,
        replays=letter.replays,
        value_bytes=letter.omitted_value_bytes if value is None else len(value),
    )
