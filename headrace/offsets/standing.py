"""What a route's group has committed, partition by partition. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from consumer.autoscaling.lag import begins_at_end, remaining
from consumer.engine.offsets.completion_map import CompletionMapError
from consumer.engine.offsets.progress import Progress
from consumer.ports import Lag, TopicPartition


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionStanding:
    """One partition of a requests topic; counts are of offsets, so upper bounds of records.

    Attributes:
        log_start: The oldest offset that is kept.
        high_watermark: The next offset to be written.
        committed: The lowest unfinished offset, as it is committed; ``None`` without a commit.
        lag: Offsets from there to the high watermark, as other tools show it.
        left: Those of them that are not done, by the completion map.
        done_above: Offsets above the committed one that are done.
        map_characters: How long the commit's metadata is.
        oldest_unfinished: The lowest offset that is not done and not deleted; ``None`` if all is.
        basis: Where ``left`` comes from, a value of ``consumer.autoscaling.lag.LagBasis``.
    """

    partition: int
    log_start: int
    high_watermark: int
    committed: int | None
    lag: int
    left: int
    done_above: int
    map_characters: int
    oldest_unfinished: int | None
    basis: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def standings(lags: Mapping[TopicPartition, Lag], *, from_latest: bool) -> list[PartitionStanding]:
    """Return the partitions in order; ``from_latest``: the route's ``start_from`` is so."""
    from_end = begins_at_end(lags, from_latest=from_latest)
    return [
        _standing(partition.partition, lag, from_latest=from_end)
        for partition, lag in sorted(lags.items())
    ]


def _standing(partition: int, lag: Lag, *, from_latest: bool) -> PartitionStanding:
    end = high_watermark_of(lag)
    left = remaining(lag._replace(log_end=end), from_latest=from_latest)
    committed = None if lag.committed is None else lag.committed.offset
    begin = max(end - left.records if committed is None else committed, lag.log_start)
    return PartitionStanding(
        partition=partition,
        log_start=lag.log_start,
        high_watermark=end,
        committed=committed,
        lag=max(0, end - begin),
        left=left.records,
        done_above=max(0, end - begin - left.records),
        map_characters=0 if lag.committed is None else len(lag.committed.metadata),
        oldest_unfinished=begin if left.records else None,
        basis=left.basis.value,
    )


def high_watermark_of(lag: Lag) -> int:
    return lag.log_end if lag.high_watermark is None else lag.high_watermark


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Sums over a route's partitions; ``fullest_map_share`` is the highest use of the metadata."""

    partitions: int
    lag: int
    left: int
    done_above: int
    without_commit: int
    fullest_map_share: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def summarise(partitions: Sequence[PartitionStanding], limit_characters: int) -> Summary:
    longest = max((each.map_characters for each in partitions), default=0)
    return Summary(
        partitions=len(partitions),
        lag=sum(each.lag for each in partitions),
        left=sum(each.left for each in partitions),
        done_above=sum(each.done_above for each in partitions),
        without_commit=sum(each.committed is None for each in partitions),
        fullest_map_share=longest / limit_characters,
    )


MOST_SHOWN = 1_000


def metadata_dict(lag: Lag) -> dict[str, Any]:
    """Return the last commit's metadata decoded, as JSON values; long lists are cut."""
    if lag.committed is None:
        return {"error": "nothing is committed"}
    try:
        progress = Progress.of(lag.committed)
    except CompletionMapError as error:
        return {"error": str(error), "metadata": lag.committed.metadata[:MOST_SHOWN]}
    return {
        "topic_checksum": progress.log_id.hex() or None,
        "highest_completed": progress.frontier - 1,
        "unfinished_below": len(progress.unfinished),
        "unfinished": list(progress.unfinished[:MOST_SHOWN]),
        "failed": [
            {"offset": each.offset, "attempts": each.attempts, "failed_attempts": each.strikes}
            for each in progress.failures[:MOST_SHOWN]
        ],
    }
