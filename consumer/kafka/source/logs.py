"""Where logs start and end now, and where to read on after a group's commits."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, errors
from aiokafka.structs import TopicPartition as KafkaPartition

from consumer.engine.offsets.completion_map import log_id_of
from consumer.kafka.client import internals
from consumer.ports import OffsetAndMetadata, TopicPartition

log = logging.getLogger(__name__)

_NO_LEADER = -1

Ask = Callable[[list[KafkaPartition]], Awaitable[Mapping[KafkaPartition, int]]]


class Logs(NamedTuple):
    starts: Mapping[TopicPartition, int]
    ends: Mapping[TopicPartition, int]
    log_id: bytes


async def ask_each(
    ask: Ask, partitions: Collection[TopicPartition], timeout_s: float
) -> dict[TopicPartition, int]:
    """Ask for a bound of each partition's log separately; log and omit those without an answer.

    Leaderless partitions do not answer. aiokafka asks for all partitions at once, and again for 40
    s: in a rebalance callback one of them would cost every member in turn its membership.

    ``ask`` is an aiokafka consumer's ``beginning_offsets`` or ``end_offsets``.
    """
    if not partitions:
        return {}
    tasks = {
        partition: asyncio.ensure_future(ask([KafkaPartition(*partition)]))
        for partition in partitions
    }
    try:
        await asyncio.wait(tasks.values(), timeout=timeout_s)
    finally:
        unanswered = [task for task in tasks.values() if not task.done()]
        for task in unanswered:
            task.cancel()
        if unanswered:
            await asyncio.wait(unanswered)
    found: dict[TopicPartition, int] = {}
    for partition, task in tasks.items():
        try:
            found[partition] = task.result()[KafkaPartition(*partition)]
        except asyncio.CancelledError:
            log.warning(
                "%s: no answer about its log within %.1f s",
                partition,
                timeout_s,
                extra={
                    "event": "log_bounds_unknown",
                    "timeout_s": timeout_s,
                    **partition._asdict(),
                },
            )
        except errors.KafkaError as error:
            log.warning(
                "%s: no answer about its log: %s",
                partition,
                error,
                extra={
                    "event": "log_bounds_unknown",
                    "error_class": type(error).__name__,
                    **partition._asdict(),
                },
            )
    return found


async def ask_led(
    consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition], timeout_s: float
) -> dict[TopicPartition, int]:
    """Ask for the ends of the logs that have a leader, all at once; silent about failures."""
    cluster = internals.cluster(consumer)
    keys = (KafkaPartition(*each) for each in partitions)
    # Of others it would ask again and again.
    led = [key for key in keys if cluster.leader_for_partition(key) not in {None, _NO_LEADER}]
    if not led:
        return {}
    try:
        async with asyncio.timeout(timeout_s):
            ends = await consumer.end_offsets(led)
    except (TimeoutError, errors.KafkaError) as error:
        log.debug("no answer about the ends of %d logs: %r", len(led), error)
        return {}
    return {TopicPartition(*key): int(end) for key, end in ends.items()}


async def points_in_logs(
    points: Mapping[TopicPartition, OffsetAndMetadata | None],
    consumer: AIOKafkaConsumer,
    log_id: bytes,
    timeout_s: float,
) -> dict[TopicPartition, OffsetAndMetadata | None]:
    """Return committed points, or where to read on in a log that is not the one of its point."""
    known = {each: point for each, point in points.items() if point is not None}
    ends = await ask_each(consumer.end_offsets, known, timeout_s)
    unfit = {each: at for each, at in known.items() if not fits(at, ends.get(each), log_id)}
    starts = await ask_each(consumer.beginning_offsets, unfit, timeout_s)
    logs = Logs(starts, ends, log_id)
    return {**points, **{each: point_in(each, point, logs) for each, point in unfit.items()}}


def fits(point: OffsetAndMetadata, log_end: int | None, log_id: bytes) -> bool:
    """Return whether reading may go on at a committed point; the log's end or id may be unknown."""
    of_log = log_id_of(point)
    is_of_another = bool(of_log and log_id and of_log != log_id)
    return not is_of_another and (log_end is None or point.offset <= log_end)


def point_in(partition: TopicPartition, point: OffsetAndMetadata, logs: Logs) -> OffsetAndMetadata:
    """Return where to read on in a log that a committed point does not fit, and log it.

    New records below a log's end look like old ones. So another log, or one that may be another, is
    read from its start: repeating is better than losing. If the log is known to be the same, it was
    truncated: its records are lost, and reading goes on at its end.
    """
    start, end = logs.starts.get(partition, 0), logs.ends.get(partition)
    of_log = log_id_of(point)
    if of_log and logs.log_id and of_log != logs.log_id:
        log.warning(
            "%s/%d: the topic was deleted and created again since offset %d was committed; reading "
            "the new one from its start, %d",
            *partition,
            point.offset,
            start,
            extra={
                "event": "topic_made_anew",
                "offset": point.offset,
                "to_offset": start,
                **partition._asdict(),
            },
        )
        return OffsetAndMetadata(start, "")
    if end is None:
        return point
    if of_log and logs.log_id:
        log.warning(
            "%s/%d: offset %d is committed, but the log ends at %d: the cluster has lost up to %d "
            "records, as by an unclean leader election; reading on at the end",
            *partition,
            point.offset,
            end,
            point.offset - end,
            extra={
                "event": "records_lost_by_cluster",
                "offset": point.offset,
                "to_offset": end,
                **partition._asdict(),
            },
        )
        return OffsetAndMetadata(end, "")
    log.warning(
        "%s/%d: offset %d is committed, but the log ends at %d: the topic was created again, or "
        "the cluster has lost records; reading on at the log's start, %d, so that nothing new is "
        "passed over",
        *partition,
        point.offset,
        end,
        start,
        extra={
            "event": "topic_made_anew",
            "offset": point.offset,
            "to_offset": start,
            **partition._asdict(),
        },
    )
    return OffsetAndMetadata(start, "")


def warn_of_expired(partition: TopicPartition, offset: int, log_start: int) -> None:
    log.warning(
        "%s/%d: retention has deleted the offsets from %d to below %d before they were read, up to "
        "%d records: they are lost. Raise retention.ms (or retention.bytes) of topic %s, or have "
        "more consumers and model replicas work on it",
        *partition,
        offset,
        log_start,
        log_start - offset,
        partition.topic,
        extra={
            "event": "records_lost_to_retention",
            "offset": offset,
            "to_offset": log_start,
            "records": log_start - offset,
            **partition._asdict(),
        },
    )
