"""Dead letters as the console shows and replays them; ``headrace dlq`` does the same."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace

from consumer.kafka.source.unpacking import UnpackedTooLargeError
from consumer.ports import SourceError
from handoff.clock import Clock
from headrace.console.live.fresh import Fresh
from headrace.console.ports import LetterFilter, LetterPage, Replayed
from headrace.console.sources.newest_letters import (
    NewestLetters,
    from_the_end,
    rows_of,
    size_bytes,
)
from headrace.dead_letters import handling
from headrace.dead_letters.inbox import Inbox, open_inbox
from headrace.dead_letters.replay import Pace, ReplayReport, Targets
from headrace.dead_letters.selection import Selection
from headrace.errors import UserError
from headrace.records.reading import LogRange, LogReader
from headrace_client.wire.names import Place
from schemas.settings.file import KafkaSettings

MIB = 1024 * 1024
READ_OFFSETS = 2_000
"""Of each topic, the newest ones; more would take seconds."""
MOST_OFFSETS = 20_000
"""Of all topics of a page."""
READ_BYTES = 64 * MIB
"""Of all topics of a page; a request may be as large as the brokers take."""
READ_WITHIN_S = 15.0
"""All topics of a page, and the connection."""
FRESH_S = 3.0
MOST_PAGES = 16
MOST_BATCH_BYTES = 64 * MIB
"""What a compressed batch may unpack to in the console's process; the brokers bound it packed."""


_TOO_LARGE = (
    f"a compressed batch there unpacks to more than {MOST_BATCH_BYTES // MIB} MiB, which the "
    "console does not read: `headrace dlq` does"
)


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
        self._read: Fresh[NewestLetters] = Fresh(clock, age_s=FRESH_S, most=MOST_PAGES)
        self.topics: tuple[LetterTopic, ...] = ()

    async def page(self, route: str | None, error_code: str | None) -> LetterPage:
        """Return the newest that are not handled; raises ``SourceError``."""
        topics = tuple(self._of(route))
        # By the topics: what is asked of them costs nothing more.
        names = tuple(each.topic for each in topics)
        newest = await self._read.get(names, lambda: self._newest(topics))
        return newest.page(route, error_code)

    async def _newest(self, topics: tuple[LetterTopic, ...]) -> NewestLetters:
        newest, left = NewestLetters(), list(topics)
        try:
            async with asyncio.timeout(READ_WITHIN_S), LogReader(self._kafka) as reader:
                while left:
                    try:
                        await _read_into(newest, reader, left[0], len(left), len(topics))
                    except (SourceError, UserError) as error:
                        newest.unread_topics.append(f"{left[0].topic}: {error}")
                    except UnpackedTooLargeError:
                        newest.unread_topics.append(f"{left[0].topic}: {_TOO_LARGE}")
                    left.pop(0)
        except TimeoutError:
            newest.unread_topics += [
                f"{each.topic}: not read to its end within {READ_WITHIN_S:g} s" for each in left
            ]
        return newest

    async def replay(self, chosen: LetterFilter) -> Replayed:
        """Publish dead letters again as requests; raises ``SourceError`` and ``UserError``."""
        if self._replaying.locked():
            raise UserError("a replay runs already: wait until it has ended")
        async with self._replaying:
            try:
                return await self._replay(chosen)
            except UnpackedTooLargeError:
                raise UserError(_TOO_LARGE) from None
            finally:
                self._read.forget()

    async def _replay(self, chosen: LetterFilter) -> Replayed:
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


async def _read_into(
    newest: NewestLetters, reader: LogReader, topic: LetterTopic, topics_left: int, topics: int
) -> None:
    """Read the newest letters of a topic, which has its share of the bytes that are left."""
    inbox = await open_inbox(reader, topic.topic, tuple(topic.requests_topics))
    if inbox is None:
        return
    unhandled = inbox.unhandled_ranges()
    newest.unhandled_offsets += sum(each.end - each.start for each in unhandled.values())
    most_bytes = newest.read_bytes + (READ_BYTES - newest.read_bytes) // topics_left
    for ranges in from_the_end(unhandled, min(READ_OFFSETS, max(1, MOST_OFFSETS // topics))):
        async with aclosing(reader.read(topic.topic, ranges)) as parts:
            async for part in parts:
                if newest.read_bytes >= most_bytes:
                    newest.unread_topics.append(
                        f"{topic.topic}: its records are large, so that fewer of them were read: "
                        f"{READ_BYTES // MIB} MiB at most for all topics"
                    )
                    return
                newest.read_bytes += sum(map(size_bytes, part.records))
                # Parsing takes long enough to hold up listeners.
                newest.add(await asyncio.to_thread(rows_of, inbox, part.records))


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
