"""How far a group is behind in one partition, by its offsets. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from consumer.autoscaling.lag import begins_at_end, remaining
from consumer.ports import Lag, TopicPartition


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """One partition of a requests topic.

    Attributes:
        log_start: The oldest offset that is kept.
        log_end: The next offset to be written, or the first of an open transaction.
        committed: The group's committed offset, or ``None`` if it has none.
        lag_records: Offsets from there to the log's end that the completion map does not have: an
            upper bound, since offsets have gaps. Without a commit: what would be read.
        basis: The source of that number, a value of ``consumer.autoscaling.lag.LagBasis``.
        blocked_records: Records behind an open transaction.
    """

    partition: int
    log_start: int
    log_end: int
    committed: int | None
    lag_records: int
    basis: str = "committed"
    blocked_records: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def partition_lags(lags: Mapping[TopicPartition, Lag], *, from_latest: bool) -> list[PartitionLag]:
    """Return a topic's partitions in order; ``from_latest``: the route's ``start_from`` is so."""
    from_end = begins_at_end(lags, from_latest=from_latest)
    return [
        partition_lag(each.partition, lag, from_latest=from_end)
        for each, lag in sorted(lags.items())
    ]


def partition_lag(partition: int, lag: Lag, *, from_latest: bool) -> PartitionLag:
    committed = None if lag.committed is None else lag.committed.offset
    left = remaining(lag, from_latest=from_latest)
    return PartitionLag(
        partition,
        lag.log_start,
        lag.log_end,
        committed,
        left.records,
        left.basis.value,
        lag.blocked_records,
    )
