"""Dead letters as the console shows and replays them; ``headrace dlq`` does the same."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from heapq import nlargest

from consumer.ports import SourceError
from handoff.clock import Clock
from headrace.console.ports import LetterFilter, LetterPage, LetterRow, Replayed
from headrace.dead_letters import handling
from headrace.dead_letters.inbox import Inbox, open_inbox
from headrace.dead_letters.letter import DeadLetter
from headrace.dead_letters.replay import Pace, ReplayReport, Targets
from headrace.dead_letters.selection import Selection
from headrace.errors import UserError
from headrace.records.reading import LogRange, LogReader
from headrace_client.wire.names import Place
from schemas.settings.file import KafkaSettings

READ_OFFSETS = 2_000
"""Of each topic, the newest ones; more would take seconds."""
MOST_ROWS = 200
MOST_MESSAGE_CHARACTERS = 600
MOST_ID_CHARACTERS = 128
READ_WITHIN_S = 20.0


@dataclass(frozen=True, slots=True)
class LetterTopic:
    """A topic of dead letters, and the routes whose they are, with their requests topics."""

    topic: str
    requests_topics: Mapping[str, str]


class KafkaLetters:
    """The dead letters of ``topics``, in the cluster ``kafka``; one replay at a time.

    Requests go to the cluster ``requests``, if it is another one.
    """

    def __init__(
        self, kafka: KafkaSettings, clock: Clock, requests: KafkaSettings | None = None
    ) -> None:
        self._kafka = kafka
        self._requests = requests
        self._clock = clock
        self._replaying = asyncio.Lock()
        self.topics: tuple[LetterTopic, ...] = ()

    async def page(self, route: str | None, error_code: str | None) -> LetterPage:
        """Return the newest that are not handled; raises ``SourceError``."""
        wanted = Selection(
            route=route, error_codes=frozenset() if error_code is None else frozenset({error_code})
        )
        unread: list[str] = []
        found: list[tuple[DeadLetter, str]] = []
        unhandled_offsets = 0
        async with LogReader(self._kafka) as reader:
            for each in self._of(route):
                try:
                    async with asyncio.timeout(READ_WITHIN_S):
                        offsets, letters = await _newest(reader, each)
                except (SourceError, UserError) as error:
                    unread.append(f"{each.topic}: {error}")
                    continue
                except TimeoutError:
                    unread.append(f"{each.topic}: not read within {READ_WITHIN_S:g} s")
                    continue
                unhandled_offsets += offsets
                found += letters
        return _page([each for each in found if wanted.takes(*each)], unhandled_offsets, unread)

    async def replay(self, chosen: LetterFilter) -> Replayed:
        """Publish dead letters again as requests; raises ``SourceError`` and ``UserError``."""
        if self._replaying.locked():
            raise UserError("a replay runs already: wait until it has ended")
        async with self._replaying:
            report = ReplayReport()
            left_records = chosen.limit_records
            for each in self._of(chosen.route):
                request = handling.Request(selection=_selection(chosen), limit_records=left_records)
                await self._replay_topic(each, request, report)
                if chosen.limit_records is not None:
                    done = report.replayed_records + report.left_records
                    left_records = max(0, chosen.limit_records - done)
            return Replayed(
                replayed_records=report.replayed_records,
                left_records=report.left_records,
                problems=tuple(report.problems),
            )

    async def _replay_topic(
        self, topic: LetterTopic, request: handling.Request, report: ReplayReport
    ) -> None:
        places = request.selection.places
        if places is not None and not any(each.topic == topic.topic for each in places):
            return
        async with LogReader(self._kafka) as reader:
            inbox = await open_inbox(reader, topic.topic, tuple(topic.requests_topics))
        if inbox is None:
            return
        if places is not None:
            inbox = narrowed(inbox, places)
        await handling.replay(
            self._kafka,
            inbox,
            request,
            targets=Targets(topic.requests_topics),
            pace=Pace(),
            keeps_deadline=True,
            clock=self._clock,
            report=report,
            replayed=lambda: None,
            requests=self._requests,
        )

    def _of(self, route: str | None) -> Iterable[LetterTopic]:
        found = [each for each in self.topics if route is None or route in each.requests_topics]
        # A route that was renamed: its dead letters stand where they were.
        return found or self.topics


def letter_topics(routes: Mapping[str, tuple[str, str]]) -> tuple[LetterTopic, ...]:
    """Return the topics of dead letters; ``routes`` has (dead-letter topic, requests topic)."""
    found: dict[str, dict[str, str]] = {}
    for name, (letters_topic, requests_topic) in routes.items():
        found.setdefault(letters_topic, {})[name] = requests_topic
    return tuple(LetterTopic(topic, by_route) for topic, by_route in found.items())


async def _newest(
    reader: LogReader, topic: LetterTopic
) -> tuple[int, list[tuple[DeadLetter, str]]]:
    """Return how many offsets are not handled, and the newest letters with their routes."""
    inbox = await open_inbox(reader, topic.topic, tuple(topic.requests_topics))
    if inbox is None:
        return 0, []
    unhandled = inbox.unhandled_ranges()
    offsets = sum(each.end - each.start for each in unhandled.values())
    read = newest_ranges(unhandled, READ_OFFSETS)
    found: list[tuple[DeadLetter, str]] = []
    async with aclosing(reader.read(topic.topic, read)) as parts:
        async for record in (record async for part in parts for record in part.records):
            each = inbox.find(record)
            if each.letter is not None and not each.is_handled:
                found.append((each.letter, each.route))
    return offsets, found


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


def _page(
    found: list[tuple[DeadLetter, str]], unhandled_offsets: int, unread: list[str]
) -> LetterPage:
    reasons = Counter((route, letter.error_code) for letter, route in found)
    newest = nlargest(MOST_ROWS, found, key=lambda each: each[0].failed_at_ms)
    return LetterPage(
        rows=[_row(letter, route) for letter, route in newest],
        by_reason=[(*reason, records) for reason, records in reasons.most_common(100)],
        read_records=len(found),
        unhandled_offsets=unhandled_offsets,
        unread_topics=unread,
    )


def _row(letter: DeadLetter, route: str) -> LetterRow:
    value = letter.record.value
    custom_id = letter.custom_id()
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


def _selection(chosen: LetterFilter) -> Selection:
    return Selection(
        error_codes=frozenset() if chosen.error_code is None else frozenset({chosen.error_code}),
        failed_before_ms=chosen.failed_before_ms,
        route=chosen.route,
        places=chosen.places or None,
    )


def narrowed(inbox: Inbox, places: frozenset[Place]) -> Inbox:
    """Return the inbox with no more of each partition than the span of the places."""
    ranges = {}
    for number, each in inbox.ranges.items():
        offsets = [
            place.offset
            for place in places
            if place.topic == inbox.topic and place.partition == number
        ]
        first, last = (min(offsets), max(offsets)) if offsets else (each.end, each.end - 1)
        ranges[number] = LogRange(
            min(max(first, each.start), each.end), max(each.start, min(last + 1, each.end))
        )
    return replace(inbox, ranges=ranges)
