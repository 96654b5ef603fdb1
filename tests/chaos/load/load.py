"""The steady load, and the special records of some faults."""

import asyncio
import contextlib
import logging
from collections.abc import Collection, Iterable

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from consumer.kafka.sink.partitioning import partition_of_key
from tests.chaos.checks.checker import Checker
from tests.chaos.load.records import NewRecord, Workload

log = logging.getLogger(__name__)

_TICK_S = 0.1


class Load:
    """Publishes requests directly to the cluster, as fast as the service keeps up.

    A failed send may or may not have reached the log: accepted is what a reader finds there.

    Args:
        bootstrap: The cluster, bypassing the proxies.
        topic: The requests topic.
        partitions: How many it has.
        workload: Draws the records.
        checker: Knows how much is unfinished.
        rate_per_s: Records a second; may change.
        most_unfinished: Above this many unfinished records the load waits.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        partitions: int,
        workload: Workload,
        checker: Checker,
        *,
        rate_per_s: float,
        most_unfinished: int,
    ) -> None:
        self.workload = workload
        self._bootstrap = bootstrap
        self._topic = topic
        self._partitions = partitions
        self._checker = checker
        self.rate_per_s = rate_per_s
        self._most_unfinished = most_unfinished
        self._producer: AIOKafkaProducer | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_paused = False
        self.avoided: frozenset[int] = frozenset()
        """Partitions without steady load, because they have no leader."""
        self._is_quiet = asyncio.Event()

    async def start(self) -> None:
        self._producer = await self._connect()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End the load; what was sent stays."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._producer is not None:
            with contextlib.suppress(KafkaError):
                await self._producer.stop()

    def key_for(self, partition: int) -> bytes:
        """Return a new key that maps to this partition."""
        while True:
            key = self.workload.next_name().encode()
            if partition_of_key(key, self._partitions) == partition:
                return key

    async def publish(self, records: Iterable[NewRecord]) -> None:
        """Publish a fault's own records; return when they are in the log."""
        for record in records:
            await self._publish([record])

    async def publish_together(self, records: Iterable[NewRecord]) -> None:
        await self._publish(list(records))

    def pause(self) -> None:
        """Stop publishing the steady load."""
        self._is_paused = True

    async def paused(self) -> None:
        """Pause; return when sends under way are published."""
        self.pause()
        await self._is_quiet.wait()

    def resume(self) -> None:
        self._is_paused = False

    async def published_around(self, partitions: Collection[int]) -> None:
        """Leave these partitions out from now on; return when sends under way are published."""
        self.avoided = frozenset(partitions)
        self._is_quiet.clear()
        await self._is_quiet.wait()

    async def _run(self) -> None:
        owed = 0.0
        while True:
            self._is_quiet.set()
            await asyncio.sleep(_TICK_S)
            if self._is_paused or self._checker.unfinished_records > self._most_unfinished:
                continue
            owed += self.rate_per_s * _TICK_S
            records = [self.workload.uneven() for _ in range(int(owed))]
            owed -= len(records)
            self._is_quiet.clear()
            await self._publish([each for each in records if self._is_wanted(each)])

    def _is_wanted(self, record: NewRecord) -> bool:
        return partition_of_key(record.key, self._partitions) not in self.avoided

    async def _publish(self, records: list[NewRecord]) -> None:
        while records:
            producer = self._producer
            if producer is None:
                return
            try:
                sends = [
                    await producer.send(self._topic, record.value, key=record.key)
                    for record in records
                ]
                async with asyncio.timeout(30):
                    await asyncio.gather(*sends)
            except (KafkaError, TimeoutError) as error:
                log.info("the load has a new producer after %r", error)
                with contextlib.suppress(KafkaError, TimeoutError):
                    async with asyncio.timeout(2):
                        await producer.stop()
                self._producer = await self._connect()
            else:
                return

    async def _connect(self) -> AIOKafkaProducer:
        while True:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._bootstrap,
                enable_idempotence=True,
                metadata_max_age_ms=5_000,
                request_timeout_ms=10_000,
            )
            try:
                await producer.start()
            except KafkaError:
                await producer.stop()
                await asyncio.sleep(0.5)
            else:
                return producer
