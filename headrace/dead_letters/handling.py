"""Counts, replays or purges dead letters."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from consumer.kafka.admin.admin import TopicAdmin
from consumer.kafka.admin.dead_letter_admin import delete_records_below
from consumer.kafka.sink.message_size import (
    LARGEST_REQUEST_BYTES,
    batch_size_bytes,
    explain_too_large,
)
from handoff.clock import Clock
from headrace.dead_letters.clearing import Clearing
from headrace.dead_letters.inbox import (
    Found,
    Inbox,
    Progress,
    Tally,
    find_all,
    open_inbox,
    reopened,
)
from headrace.dead_letters.replay import (
    NotReplayableError,
    Outgoing,
    Pace,
    ReplayReport,
    Targets,
    compose,
    has_expired,
    needs_source,
)
from headrace.dead_letters.selection import Selection
from headrace.dead_letters.transactions import HandlingTransactions
from headrace.errors import UserError
from headrace.records.reading import LogReader
from schemas.settings.file import KafkaSettings

MAX_BATCH_BYTES = 8 * 1024 * 1024
MARKS_PER_COMMIT = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Which dead letters to handle: the first ones that are selected, up to a limit."""

    selection: Selection
    limit_records: int | None = None


@dataclass(slots=True)
class Survey:
    """What a command would handle.

    Attributes:
        targets: Records for each topic to which they would be replayed.
        not_replayable: Records for each reason why not.
        expired_records: Replayable ones whose deadline has passed.
        clear_below: Below which offset each partition would have no unhandled ones.
    """

    tally: Tally = field(default_factory=Tally)
    targets: Counter[str] = field(default_factory=Counter)
    not_replayable: Counter[str] = field(default_factory=Counter)
    expired_records: int = 0
    clear_below: dict[int, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            **self.tally.to_dict(),
            "targets": dict(self.targets),
            "not_replayable": dict(self.not_replayable),
            "expired_records": self.expired_records,
        }


async def survey(
    reader: LogReader,
    inbox: Inbox,
    request: Request,
    *,
    targets: Targets,
    now_ms: int,
    is_clearing: bool,
    progress: Progress,
) -> Survey:
    """Count what a command would handle; no other reader may use ``reader`` meanwhile.

    With ``is_clearing`` it reads past the filters on time, to find what can be deleted.
    """
    found_out = Survey()
    clearing = Clearing(inbox.unhandled_ranges())
    records = _selected(reader, inbox, request, clearing, is_clearing, progress)
    async with aclosing(records):
        async for found in records:
            found_out.tally.add(found)
            try:
                target = targets.of(found)
            except NotReplayableError as error:
                found_out.not_replayable[str(error)] += 1
                continue
            found_out.targets[target] += 1
            if found.letter is not None:
                found_out.expired_records += has_expired(found.letter, now_ms)
    if is_clearing:
        found_out.clear_below = clearing.offsets(inbox.ranges)
    return found_out


async def replay(
    kafka: KafkaSettings,
    inbox: Inbox,
    request: Request,
    *,
    targets: Targets,
    pace: Pace,
    keeps_deadline: bool,
    clock: Clock,
    report: ReplayReport,
    replayed: Callable[[], None],
    requests: KafkaSettings | None = None,
) -> None:
    """Publish dead letters again as requests, and remember this.

    Requests go to the cluster ``requests``, if that is not the one of the dead letters; then no
    transaction spans both, and an interruption may replay the last batch twice.

    Ends with the last one that stood there when ``inbox`` was opened: a request that fails again
    meanwhile is not replayed again. ``report`` is right at any moment, also after an interruption;
    ``replayed`` is called whenever it has changed. Raises ``SourceError`` if the cluster refuses,
    and ``UserError`` if another command took over.
    """
    topics = sorted({targets.topic} if targets.topic else set(targets.by_route.values()))
    async with TopicAdmin(requests or kafka) as admin:
        existing = await admin.describe_topics(topics)
        limits_bytes = await admin.message_limits_bytes(
            [topic for topic, info in existing.items() if info is not None]
        )
    async with (
        HandlingTransactions(kafka, inbox.topic, requests) as transactions,
        LogReader(kafka) as reader,
        LogReader(requests or kafka) as sources,
    ):
        current = await _opened_again(reader, inbox)
        started_at_s = clock.monotonic()
        batch: list[tuple[Found, Outgoing]] = []
        batch_bytes = 0

        async def publish() -> None:
            nonlocal batch_bytes

            def count() -> None:
                report.replayed_records += len(batch)
                replayed()

            for found, _outgoing in batch:
                current.handled[found.record.partition].mark(found.record)
            await transactions.commit([each for _found, each in batch], current.handled, count)
            batch.clear()
            batch_bytes = 0
            elapsed_s = clock.monotonic() - started_at_s
            await asyncio.sleep(pace.delay_s(report.replayed_records, elapsed_s))

        records = _selected(reader, current, request, None, False, _unheard)
        async with aclosing(records):
            async for found in records:
                try:
                    outgoing = await _compose(found, targets, sources, keeps_deadline)
                    _check_target(outgoing, existing, limits_bytes)
                except NotReplayableError as error:
                    report.leave(found.record, str(error))
                    replayed()
                    continue
                partition_count = getattr(existing[outgoing.message.topic], "partitions", 0)
                if outgoing.partition is not None and outgoing.partition >= partition_count:
                    outgoing = outgoing._replace(partition=None)
                batch.append((found, outgoing))
                batch_bytes += batch_size_bytes(outgoing.message)
                if len(batch) >= pace.batch_records or batch_bytes >= MAX_BATCH_BYTES:
                    await publish()
        if batch:
            await publish()


async def purge(
    kafka: KafkaSettings,
    inbox: Inbox,
    request: Request,
    *,
    keeps_records: bool,
    purged: Callable[[int], None],
) -> dict[int, int]:
    """Mark dead letters as handled, and delete the records before the first unhandled one.

    Returns the offset below which each partition's records were deleted. Raises as ``replay``.
    """
    async with (
        HandlingTransactions(kafka, inbox.topic) as transactions,
        LogReader(kafka) as reader,
    ):
        current = await _opened_again(reader, inbox)
        clearing = Clearing(current.unhandled_ranges())
        marked_records = 0

        async def remember() -> None:
            nonlocal marked_records
            count, marked_records = marked_records, 0
            await transactions.commit([], current.handled, lambda: purged(count))

        records = _selected(reader, current, request, clearing, not keeps_records, _unheard)
        async with aclosing(records):
            async for found in records:
                current.handled[found.record.partition].mark(found.record)
                marked_records += 1
                if marked_records == MARKS_PER_COMMIT:
                    await remember()
        await remember()
        if keeps_records:
            return {}
        offsets = clearing.offsets(current.ranges)
        # Remembered before the deletion, so that an interruption between the two loses nothing.
        await delete_records_below(kafka, inbox.topic, offsets)
        for number, offset in offsets.items():
            current.handled[number].forget_below(offset)
        await remember()
        return offsets


async def _opened_again(reader: LogReader, inbox: Inbox) -> Inbox:
    """Read again what is handled: no other command can change it from now on."""
    fresh = await open_inbox(reader, inbox.topic, inbox.routes)
    if fresh is None:
        raise UserError(f"the topic {inbox.topic} was deleted meanwhile; nothing was done")
    return reopened(inbox, fresh)


async def _selected(
    reader: LogReader,
    inbox: Inbox,
    request: Request,
    clearing: Clearing | None,
    is_whole: bool,
    progress: Progress,
) -> AsyncGenerator[Found, None]:
    """Yield what to handle, and note in ``clearing`` what that leaves; all if ``is_whole``."""
    selection, left_records = request.selection, request.limit_records
    since_ms = None if is_whole else selection.failed_after_ms
    records = find_all(
        reader, inbox, include_handled=False, failed_after_ms=since_ms, progress=progress
    )
    async with aclosing(records):
        async for found in records:
            place = found.record.partition, found.record.offset
            if left_records == 0:
                return
            if not found.is_selected(selection):
                if clearing is not None:
                    clearing.keep(*place)
                continue
            if left_records is not None:
                left_records -= 1
            if clearing is not None:
                clearing.handle(*place)
            yield found
    if clearing is not None and is_whole:
        clearing.finish()


async def _compose(
    found: Found, targets: Targets, sources: LogReader, keeps_deadline: bool
) -> Outgoing:
    topic = targets.of(found)
    letter = found.letter
    if letter is None:
        raise AssertionError("targets.of raises where there is no letter")
    original = await sources.record_at(letter.source) if needs_source(letter) else None
    return compose(letter, topic, original, keeps_deadline=keeps_deadline)


def _check_target(
    outgoing: Outgoing, existing: dict[str, Any], limits_bytes: dict[str, int]
) -> None:
    """Refuse what the broker would refuse: that would end the whole transaction."""
    message = outgoing.message
    if existing.get(message.topic) is None:
        raise NotReplayableError(f"there is no topic {message.topic}")
    size_bytes = batch_size_bytes(message)
    limit_bytes = min(limits_bytes[message.topic], LARGEST_REQUEST_BYTES)
    if size_bytes > limit_bytes:
        raise NotReplayableError(explain_too_large(message, size_bytes, limit_bytes))


def _unheard(_passed_offsets: int, _total_offsets: int) -> None:
    pass
