"""A dead-letter topic: what stands there, and what of it is still unhandled."""

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from headrace.dead_letters.handled import HandledOffsets, fingerprint
from headrace.dead_letters.handled_topic import load_handled
from headrace.dead_letters.letter import DeadLetter, read_letter
from headrace.dead_letters.selection import Selection
from headrace.records.reading import LogRange, LogReader, TopicRecord
from headrace_client.wire.names import Place
from schemas.settings.file import Settings

Progress = Callable[[int, int], None]
"""Gets how many offsets, of how many, were read."""


class Found(NamedTuple):
    """A record of a dead-letter topic; no letter and no route if another program wrote it."""

    record: TopicRecord
    letter: DeadLetter | None
    route: str
    is_handled: bool

    def is_selected(self, selection: Selection) -> bool:
        if self.letter is None:
            return selection.is_everything
        return selection.takes(self.letter, self.route)


@dataclass(frozen=True, slots=True)
class Inbox:
    """A dead-letter topic at one moment: what each partition has, and what is handled."""

    topic: str
    routes: tuple[str, ...]
    ranges: Mapping[int, LogRange]
    handled: Mapping[int, HandledOffsets]

    def unhandled_ranges(self) -> dict[int, LogRange]:
        return {
            number: LogRange(
                min(self.handled[number].first_unhandled(each.start), each.end), each.end
            )
            for number, each in self.ranges.items()
        }

    def find(self, record: TopicRecord) -> Found:
        letter = read_letter(record)
        return Found(
            record,
            letter,
            "" if letter is None else self._route_of(letter),
            record.offset in self.handled[record.partition],
        )

    def _route_of(self, letter: DeadLetter) -> str:
        # A route may be renamed while its dead letters stand here.
        is_renamed = letter.route not in self.routes and len(self.routes) == 1
        return self.routes[0] if is_renamed else letter.route


@dataclass(slots=True)
class Tally:
    """Counts of dead letters, and of foreign records among them; times in epoch milliseconds."""

    records: int = 0
    by_error_code: Counter[str] = field(default_factory=Counter)
    foreign_records: int = 0
    oldest_ms: int | None = None
    newest_ms: int | None = None

    def add(self, found: Found) -> None:
        self.records += 1
        if found.letter is None:
            self.foreign_records += 1
            return
        failed_at_ms = found.letter.failed_at_ms
        self.by_error_code[found.letter.error_code] += 1
        if self.oldest_ms is None or failed_at_ms < self.oldest_ms:
            self.oldest_ms = failed_at_ms
        if self.newest_ms is None or failed_at_ms > self.newest_ms:
            self.newest_ms = failed_at_ms

    def to_dict(self) -> dict[str, Any]:
        return {
            "records": self.records,
            "by_error_code": dict(self.by_error_code.most_common()),
            "foreign_records": self.foreign_records,
            "oldest_failed_at": self.oldest_ms,
            "newest_failed_at": self.newest_ms,
        }


def inbox_topics(settings: Settings, route: str | None) -> dict[str, tuple[str, ...]]:
    topics: dict[str, tuple[str, ...]] = {}
    for name, each in settings.routes.items():
        topics[each.dead_letters_topic] = (*topics.get(each.dead_letters_topic, ()), name)
    if route is None:
        return topics
    wanted = settings.routes[route].dead_letters_topic
    return {wanted: topics[wanted]}


async def open_inbox(reader: LogReader, topic: str, routes: tuple[str, ...]) -> Inbox | None:
    """Look at a dead-letter topic; ``None`` if it does not exist.

    What was handled in an earlier topic of that name does not count.
    """
    ranges = await reader.ranges(topic)
    if ranges is None:
        return None
    handled = await load_handled(reader, topic)
    for number, offsets in handled.items():
        if not await _is_same_log(reader, Place(topic, number, 0), ranges.get(number), offsets):
            offsets.forget_all()
    for number in ranges:
        handled.setdefault(number, HandledOffsets())
    return Inbox(topic, routes, ranges, handled)


async def _is_same_log(
    reader: LogReader, partition: Place, log_range: LogRange | None, handled: HandledOffsets
) -> bool:
    """Use a record that was handled to check that this is still the same log."""
    witness = handled.witness
    if witness is None:
        return True
    if log_range is None or witness.offset >= log_range.end:
        return False
    if witness.offset < log_range.start:  # purged or expired since
        return True
    record = await reader.record_at(partition._replace(offset=witness.offset))
    # In the same log a record stands there; in another it may be a transaction's marker.
    return record is not None and fingerprint(record) == witness.fingerprint


async def find_all(
    reader: LogReader,
    inbox: Inbox,
    *,
    include_handled: bool,
    failed_after_ms: int | None = None,
    progress: Progress,
) -> AsyncGenerator[Found, None]:
    """Yield the topic's records, in order by partition; only this may use ``reader`` meanwhile.

    Skips what was published before ``failed_after_ms`` (epoch milliseconds): it failed earlier.
    """
    ranges = dict(inbox.ranges) if include_handled else inbox.unhandled_ranges()
    if failed_after_ms is not None:
        since = await reader.offsets_since(inbox.topic, ranges, failed_after_ms)
        for number, each in ranges.items():
            first = since.get(number)
            ranges[number] = each._replace(
                start=each.end if first is None else min(each.end, max(each.start, first))
            )
    total_offsets = sum(each.end - each.start for each in ranges.values())
    progress(0, total_offsets)
    parts = reader.read(inbox.topic, ranges)
    async with aclosing(parts):
        async for part in parts:
            progress(part.passed_offsets, total_offsets)
            for record in part.records:
                found = inbox.find(record)
                if include_handled or not found.is_handled:
                    yield found
    progress(total_offsets, total_offsets)


def reopened(inbox: Inbox, fresh: Inbox) -> Inbox:
    return replace(
        inbox,
        handled=fresh.handled,
        ranges={
            number: LogRange(max(each.start, inbox.ranges[number].start), inbox.ranges[number].end)
            for number, each in fresh.ranges.items()
            if number in inbox.ranges
        },
    )
