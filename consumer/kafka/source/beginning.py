"""Where a group begins that is to read from the end of its topic's log: everywhere at once.

A partition that is added later is read from its start. So 'the group has committed nothing' has to
be a statement about the whole topic, and has to become false for all partitions together: one
member, whoever has the first partition, commits where each of them ends. The others wait for that.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from consumer.engine.offsets import completion_map
from consumer.ports import CommitPoint, CommitRefusedError, SourceError, TopicPartition

log = logging.getLogger(__name__)

_LOOK_AGAIN_AFTER_S = 0.1

Committed = Callable[
    [Collection[TopicPartition]], Awaitable[Mapping[TopicPartition, CommitPoint | None]]
]
Ends = Callable[[Collection[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]]
Commit = Callable[[Mapping[TopicPartition, CommitPoint]], Awaitable[None]]


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
    """Return once the group has begun.

    Args:
        everywhere: The topic's partitions, in order.
        assigned: Those of this member.
        log_id: Identifies the topic, to be committed with the ends; empty where not known.
        committed: Asks what the group has committed.
        ends: Asks where logs end; leaves out the partitions that nobody leads.
        commit: Commits under the generation of ``assigned``.
        is_outdated: Whether the group has another assignment coming.

    Returns:
        False where the group rebalances first: whoever has the first partition then, begins.

    Raises:
        SourceError: Nobody says where the log of some partition ends.
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
                f"start_from is latest, and nobody says where the log of {', '.join(unknown)} "
                "ends; check that each partition has a leader"
            )
        try:
            await commit({each: _point(log_end, log_id) for each, log_end in found.items()})
        except CommitRefusedError as error:
            log.info("the group rebalances before it has begun: %s", error)
            return False
        log.info(
            "the group has committed nothing: it begins at the end, %s",
            ", ".join(f"{each.partition}: {log_end}" for each, log_end in found.items()),
        )
        return True
    return True


def _point(offset: int, log_id: bytes) -> CommitPoint:
    """Return a point with nothing done above it; without an id it would hold in any log."""
    if not log_id:
        return CommitPoint(offset, "")
    nothing_above = completion_map.CompletionMap(offset, log_id=log_id)
    return CommitPoint(offset, completion_map.encode(offset, nothing_above))
