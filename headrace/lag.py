"""How far a route's consumers are behind, as the brokers see it."""

import asyncio
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from consumer.kafka.connection import client_options, explaining_failures
from schemas.settings import RouteSettings, Settings


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """One partition of a requests topic.

    Attributes:
        partition: Its number.
        log_start: The oldest offset that is kept.
        log_end: The next offset to be written.
        committed: The group's committed offset, or ``None`` where it has none.
        lag_records: Offsets between committed and log end: an upper bound on records, since
            offsets may have gaps.
    """

    partition: int
    log_start: int
    log_end: int
    committed: int | None
    lag_records: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return {
            "partition": self.partition,
            "log_start": self.log_start,
            "log_end": self.log_end,
            "committed": self.committed,
            "lag_records": self.lag_records,
        }


def partition_lag(
    partition: int, log_start: int, log_end: int, committed: int | None, *, from_latest: bool
) -> PartitionLag:
    """Compute one partition's lag.

    Args:
        partition: Its number.
        log_start: The oldest offset that is kept.
        log_end: The next offset to be written.
        committed: The group's committed offset; a negative one counts as none.
        from_latest: Whether a group without a commit starts at the end of the log.
    """
    if committed is not None and committed < 0:
        committed = None
    begin = committed if committed is not None else log_end if from_latest else log_start
    # What has expired before it was read will never be: it is no work.
    lag_records = max(0, log_end - max(begin, log_start))
    return PartitionLag(partition, log_start, log_end, committed, lag_records)


class LagReader:
    """Asks the brokers for every route's lag, over connections that stay open.

    Args:
        settings: Whose routes.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admin: AIOKafkaAdminClient | None = None
        self._consumer: AIOKafkaConsumer | None = None

    async def __aenter__(self) -> "LagReader":
        with explaining_failures(self._settings.kafka, "reading lag"):
            options = client_options(self._settings.kafka)
            try:
                self._admin = AIOKafkaAdminClient(**options)
                await self._admin.start()
                self._consumer = AIOKafkaConsumer(**options, group_id=None)
                await self._consumer.start()
            except BaseException:
                await self.close()
                raise
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Disconnect."""
        if self._admin is not None:
            await self._admin.close()
        if self._consumer is not None:
            await self._consumer.stop()

    async def read(self) -> dict[str, list[PartitionLag]]:
        """Return each route's partitions; none where its requests topic does not exist.

        Raises:
            SourceError: The cluster does not answer; says what to check.
        """
        with explaining_failures(self._settings.kafka, "reading lag"):
            return {name: await self._route(route) for name, route in self._settings.routes.items()}

    async def _route(self, route: RouteSettings) -> list[PartitionLag]:
        assert self._admin is not None and self._consumer is not None  # noqa: S101, PT018
        if route.requests_topic not in await self._consumer.topics():
            return []
        numbers = sorted(self._consumer.partitions_for_topic(route.requests_topic) or ())
        partitions = [TopicPartition(route.requests_topic, number) for number in numbers]
        starts, ends, committed = await asyncio.gather(
            self._consumer.beginning_offsets(partitions),
            self._consumer.end_offsets(partitions),
            self._admin.list_consumer_group_offsets(route.group, partitions=partitions),
        )
        return [
            partition_lag(
                each.partition,
                starts[each],
                ends[each],
                committed[each].offset if each in committed else None,
                from_latest=route.start_from == "latest",
            )
            for each in partitions
        ]
