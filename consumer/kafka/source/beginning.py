"""Where a group begins that reads from the end of its topic's log: in all partitions at once.

A partition that is added later is read from its start. So 'the group has committed nothing' is a
statement about the whole topic, and has to become false for all partitions together: the member
that has the first partition commits the ends of all, and the others wait for it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from aiokafka import AIOKafkaConsumer

from consumer.engine.offsets import completion_map
from consumer.kafka.client import internals
from consumer.ports import CommitRefusedError, OffsetAndMetadata, SourceError, TopicPartition

log = logging.getLogger(__name__)

_LOOK_AGAIN_AFTER_S = 0.1

Committed = Callable[
    [Collection[TopicPartition]], Awaitable[Mapping[TopicPartition, OffsetAndMetadata | None]]
]
Ends = Callable[[Collection[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]]
Commit = Callable[[Mapping[TopicPartition, OffsetAndMetadata]], Awaitable[None]]


def any_committed(consumer: AIOKafkaConsumer, *, requires_stable: bool) -> Committed:
    """Return a query for committed points; if none, it waits for undecided transactions."""

    async def ask(
        partitions: Collection[TopicPartition],
    ) -> Mapping[TopicPartition, OffsetAndMetadata | None]:
        points = await internals.committed(consumer, partitions, require_stable=False)
        if requires_stable and not any(points.values()):
            points = await internals.committed(consumer, partitions, require_stable=True)
        return points

    return ask


async def begin_at_end(
    everywhere: Sequence[TopicPartition],
    assigned: Collection[TopicPartition],
    *,
    log_id: bytes,
    committed: Committed,
    ends: Ends,
    commit: Commit,
    is_outdated: Callable[[], bool],
) -> bool:
    """Return once the group has begun, or False if it rebalances first.

    In that case the next owner of the first partition begins. ``everywhere`` is all of the topic,
    ``assigned`` this member's part. ``commit`` works under the generation of ``assigned``.
    ``SourceError`` means that the end of some partition's log is unknown.
    """
    while all(point is None for point in (await committed(everywhere)).values()):
        if is_outdated():
            return False
        if everywhere[0] not in assigned:
            await asyncio.sleep(_LOOK_AGAIN_AFTER_S)
            continue
        found = await ends(everywhere)
        unknown = [f"{each.topic}/{each.partition}" for each in everywhere if each not in found]
        if unknown:
            raise SourceError(
                f"start_from is latest, and it is not known where the log of {', '.join(unknown)} "
                "ends; check that each partition has a leader"
            )
        try:
            await commit({each: _point(log_end, log_id) for each, log_end in found.items()})
        except CommitRefusedError as error:
            log.info(
                "the group rebalances before it has begun: %s",
                error,
                extra={"event": "commit_refused"},
            )
            return False
        log.info(
            "the group has committed nothing: it begins at the end, %s",
            ", ".join(f"{each.partition}: {log_end}" for each, log_end in found.items()),
            extra={"event": "group_begins_at_end", "partitions": len(found)},
        )
        return True
    return True


def _point(offset: int, log_id: bytes) -> OffsetAndMetadata:
    """Return a point with nothing done above it; without the id it would fit any log."""
    if not log_id:
        return OffsetAndMetadata(offset, "")
    nothing_above = completion_map.CompletionMap(offset, log_id=log_id)
    return OffsetAndMetadata(offset, completion_map.encode(offset, nothing_above))
