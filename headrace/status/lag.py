"""How far each route's consumers are behind, as the brokers see it."""

import asyncio
from dataclasses import asdict, dataclass
from typing import Any

from aiokafka.errors import GroupCoordinatorNotAvailableError

from consumer.autoscaling.lag import begins_at_end, remaining
from consumer.kafka.admin.admin import TopicAdmin
from consumer.ports import Lag, SourceError, TopicPartition
from schemas.settings.file import RouteSettings, Settings

COORDINATOR_TRIES = 20
COORDINATOR_WAIT_S = 0.25


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """One partition of a requests topic.

    Attributes:
        log_start: The oldest offset that is kept.
        log_end: The next offset to be written, or the first of an open transaction.
        committed: The group's committed offset, or ``None`` where it has none.
        lag_records: Offsets from there to the log's end that the completion map does not have: an
            upper bound, since offsets have gaps. Without a commit: what would be read.
        basis: What that rests on, a value of ``consumer.autoscaling.lag.LagBasis``.
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


async def read_lags(admin: TopicAdmin, settings: Settings) -> dict[str, list[PartitionLag]]:
    """Return each route's partitions in order; none where its requests topic does not exist."""
    found: dict[str, list[PartitionLag]] = {}
    for name, route in settings.routes.items():
        lags = await _group_lag(admin, route)
        from_latest = begins_at_end(lags, from_latest=route.start_from == "latest")
        found[name] = [
            partition_lag(each.partition, lag, from_latest=from_latest)
            for each, lag in sorted(lags.items())
        ]
    return found


async def _group_lag(admin: TopicAdmin, route: RouteSettings) -> dict[TopicPartition, Lag]:
    """Ask again where a cluster that never had a group sets up its offsets topic first."""
    for _ in range(COORDINATOR_TRIES - 1):
        try:
            return await admin.group_lag(route.group, route.requests_topic)
        except SourceError as error:
            if not isinstance(error.__cause__, GroupCoordinatorNotAvailableError):
                raise
        await asyncio.sleep(COORDINATOR_WAIT_S)
    return await admin.group_lag(route.group, route.requests_topic)
