"""Whether what a group has committed still says where to read on in the logs as they are now."""

import logging
from collections.abc import Mapping
from typing import NamedTuple

from consumer.engine.offsets.completion_map import log_id_of
from consumer.ports import CommitPoint, TopicPartition

log = logging.getLogger(__name__)


class Logs(NamedTuple):
    """Partitions' logs; where nobody leads a partition, nobody says.

    Attributes:
        starts: The first offset of each.
        ends: The offset behind the last.
        log_id: Identifies the topic that they are of; empty where that is not known.
    """

    starts: Mapping[TopicPartition, int]
    ends: Mapping[TopicPartition, int]
    log_id: bytes


def fits(point: CommitPoint, log_end: int | None, log_id: bytes) -> bool:
    """Say whether reading may go on at a committed point.

    Args:
        point: What was committed.
        log_end: The offset behind the log's last; ``None`` where nobody says.
        log_id: Identifies the log; empty where that is not known.
    """
    of_log = log_id_of(point)
    is_of_another = bool(of_log and log_id and of_log != log_id)
    return not is_of_another and (log_end is None or point.offset <= log_end)


def point_in(partition: TopicPartition, point: CommitPoint, logs: Logs) -> CommitPoint:
    """Return where to read on in a log that a committed point does not fit, and say so.

    What is new below a log's end cannot be told from what was there, so another log, or one of
    which that is not known, is read from its start: repeating is better than losing. A log that is
    known to be the same was cut short: the records are lost, and reading goes on at its end.
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
        )
        return CommitPoint(start, "")
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
        )
        return CommitPoint(end, "")
    log.warning(
        "%s/%d: offset %d is committed, but the log ends at %d: the topic was created again, or "
        "the cluster has lost records; reading on at the log's start, %d, so that nothing new is "
        "passed over",
        *partition,
        point.offset,
        end,
        start,
    )
    return CommitPoint(start, "")


def warn_of_expired(partition: TopicPartition, offset: int, log_start: int) -> None:
    """Say that retention has deleted what was to be read next."""
    log.warning(
        "%s/%d: retention has deleted the offsets from %d to below %d before they were read, up to "
        "%d records: they are lost. Raise retention.ms (or retention.bytes) of topic %s, or have "
        "more consumers and model replicas work on it",
        *partition,
        offset,
        log_start,
        log_start - offset,
        partition.topic,
    )
