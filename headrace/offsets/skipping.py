"""Skips one record: it gets a dead letter as its outcome, and its offset counts as done.

The record takes the way of all records through the engine, publishing included; only what is
committed with its outcome is another point, of the whole partition.
"""

import asyncio
import random
from collections.abc import Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from consumer.engine.engine import Engine
from consumer.engine.replies.parked import GIVE_UP_S
from consumer.kafka.admin.group_offsets import GroupNotEmptyError
from consumer.kafka.sink.sink import KafkaSink
from consumer.kafka.transactions.sink import KafkaTransactionalSink
from consumer.loop.at_least_once import AtLeastOnce
from consumer.loop.exactly_once import ExactlyOnce
from consumer.loop.publishing import Publishing
from consumer.ports import (
    CommitRefusedError,
    Message,
    OffsetAndMetadata,
    Record,
    RecordSource,
    Rejection,
    TopicPartition,
)
from consumer.replica.build import build_engine, loop_settings
from handoff.clock import SystemClock
from headrace.errors import UserError
from headrace.offsets.changing import Changing, take_over
from headrace.offsets.edits import Edit, skip
from headrace.records.reading import LogReader
from headrace_client.wire.names import Place
from schemas.settings.file import RouteSettings, Settings
from schemas.wire.results import ErrorCode

PUBLISH_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Skipped:
    """The edit, and the record's outcome in a word or two."""

    edit: Edit
    outcome: str


async def read_record(settings: Settings, place: Place) -> Record:
    """Return the record at a place; ``UserError`` if there is none."""
    async with LogReader(settings.kafka) as reader:
        found = await reader.record_at(place)
    if found is None:
        raise UserError(
            f"there is no record at {place.topic}/{place.partition}/{place.offset}: it was deleted "
            "or compacted away, is a transaction's marker, or is behind an open transaction. "
            "Consumers pass over offsets without a record by themselves"
        )
    return Record(
        TopicPartition(found.topic, found.partition),
        found.offset,
        found.key,
        found.value,
        list(found.headers),
        found.timestamp_ms,
    )


async def skip_record(
    changing: Changing,
    settings: Settings,
    name: str,
    partition: int,
    offset: int,
    reason: str,
) -> Skipped:
    """Publish the record's dead letter, and commit that it is done; both together if exactly once.

    ``UserError`` if the group has members, or if the record is done already.
    """
    route = settings.routes[name]
    place = TopicPartition(route.requests_topic, partition)
    await changing.check_empty()
    record = await read_record(settings, Place(*place, offset))
    engine = _engine_of(settings, name, route)
    commit = _PlannedCommit(changing)
    sink: KafkaTransactionalSink | None = None
    if route.delivery == "exactly_once":
        sink = KafkaTransactionalSink(settings.kafka, route)
        publishing: Publishing = ExactlyOnce(
            engine=engine,
            source=cast("RecordSource", commit),
            sink=_PlannedSink(sink, commit),
            clock=SystemClock(),
            settings=loop_settings(route),
        )
    else:
        await changing.check_decided([partition])
        publishing = AtLeastOnce(
            engine=engine,
            source=cast("RecordSource", commit),
            sink=KafkaSink(
                settings.results_cluster, (route.results_topic, route.dead_letters_topic)
            ),
            clock=SystemClock(),
            settings=loop_settings(route),
        )
    await publishing.start()
    try:
        if sink is not None:
            await take_over(sink, [place])
            await changing.check_empty()
        commit.edit = skip(await changing.log(), partition, offset)
        outcome = _decide(engine, record, reason)
        await _publish(publishing, _flush(publishing, engine, commit))
        waits = engine.waits(SystemClock().monotonic())
    finally:
        await publishing.stop()
    if not commit.is_done and not commit.is_refused:
        raise UserError(
            f"the record's outcome was not taken, so it is not marked as done: "
            f"{'; '.join(waits) or 'the log says why'}"
        )
    if not commit.is_done:
        raise UserError(
            f"a consumer of {name} came meanwhile, so the record is not marked as done, and may "
            f"get another outcome: `headrace route pause {name}`, then run this again"
        )
    return Skipped(commit.edit, outcome)


def _engine_of(settings: Settings, name: str, route: RouteSettings) -> Engine:
    model = settings.models[route.model]
    return build_engine(
        route_name=name,
        route=route,
        urls=frozenset(model.endpoints),
        work_field=model.work_field,
        consumer="headrace offsets skip",
        metadata_limit_characters=settings.kafka.offset_metadata_max_bytes,
        jitter=random.Random(),  # noqa: S311 - spreads retries, of which there are none
    )


def _decide(engine: Engine, record: Record, reason: str) -> str:
    clock = SystemClock()
    now_s, epoch_ms = clock.monotonic(), clock.epoch_ms()
    engine.assign({record.partition: OffsetAndMetadata(record.offset, "")})
    engine.deliver([record], now_s, epoch_ms)
    if engine.backlog.waiting():
        engine.backlog.give_up_waiting(ErrorCode.SKIPPED_BY_OPERATOR, reason, now_s, epoch_ms)
        return ErrorCode.SKIPPED_BY_OPERATOR.value
    # It has its outcome without a model, and that is what it gets.
    counters = engine.counters
    outcomes = {
        "dead letter": counters.dead_letter_records,
        "request_expired": counters.expired_records,
        "request_cancelled": counters.cancelled_records,
        "refused (4xx)": counters.refused_records,
        "tombstone": counters.skipped_records,
    }
    return next(name for name, records in outcomes.items() if records)


async def _flush(publishing: Publishing, engine: Engine, commit: "_PlannedCommit") -> None:
    await publishing.flush()
    if not commit.is_done and not commit.is_refused:
        # A reply waits for its topic, which has had its seconds: it must not hold up a skip.
        clock, later_s = SystemClock(), GIVE_UP_S + 1.0
        engine.advance(clock.monotonic() + later_s, clock.epoch_ms() + int(later_s * 1000))
        await publishing.flush()


async def _publish(publishing: Publishing, flushing: Coroutine[None, None, None]) -> None:
    """Publish and commit all that is decided; raises what ends the publishing."""
    loops = [asyncio.create_task(loop) for loop in publishing.loops(lambda: None)]
    flush = asyncio.create_task(flushing)
    try:
        async with asyncio.timeout(PUBLISH_TIMEOUT_S):
            done, _ = await asyncio.wait([flush, *loops], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    except TimeoutError:
        raise UserError(
            f"the brokers did not acknowledge the dead letter within {PUBLISH_TIMEOUT_S:g} s; the "
            "record is not marked as done, so run this again"
        ) from None
    finally:
        for task in (flush, *loops):
            task.cancel()
        await asyncio.gather(flush, *loops, return_exceptions=True)


class _PlannedCommit:
    """Commits the planned point in place of the engine's, which knows one record only."""

    def __init__(self, changing: Changing) -> None:
        self._changing = changing
        self.edit = Edit(partition=-1, before=None, after=OffsetAndMetadata(-1, ""))
        self.is_done = False
        self.is_refused = False

    async def commit(self, points: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        try:
            await self._changing.offsets.commit(dict.fromkeys(points, self.edit.after))
        except GroupNotEmptyError as error:
            self.is_refused = True
            raise CommitRefusedError(str(error)) from error
        self.is_done = True

    def rejoin(self) -> None:
        """Do nothing: it is in no group."""


class _PlannedSink:
    """The same for a transaction."""

    def __init__(self, sink: KafkaTransactionalSink, planned: _PlannedCommit) -> None:
        self._sink = sink
        self._planned = planned

    async def start(self) -> None:
        await self._sink.start()

    async def take_over(self, partitions: Collection[TopicPartition]) -> None:
        await self._sink.take_over(partitions)

    async def publish(
        self, partition: TopicPartition, messages: Sequence[Message], _point: OffsetAndMetadata
    ) -> list[Rejection]:
        rejections = await self._sink.publish(partition, messages, self._planned.edit.after)
        self._planned.is_done = not rejections
        return rejections

    async def find_missing(self, topics: Collection[str]) -> set[str]:
        return await self._sink.find_missing(topics)

    def allow_replies(self, patterns: Collection[str]) -> None:
        self._sink.allow_replies(patterns)

    def waits(self) -> list[str]:
        return self._sink.waits()

    async def stop(self) -> None:
        await self._sink.stop()
