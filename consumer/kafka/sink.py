"""Publishing results and dead letters, by aiokafka's idempotent producer."""

import asyncio
import logging
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer, errors

from consumer.core.partitioning import RunPartitioner, partition_of_key
from consumer.core.ports import Message, Rejection, SourceError
from consumer.kafka.admin import TopicAdmin
from consumer.kafka.connection import explain, warn_if_slow
from consumer.kafka.lane import Entry, Lane, PublishCall
from consumer.kafka.message_size import (
    DEFAULT_LIMIT_BYTES,
    LARGEST_REQUEST_BYTES,
    batch_size_bytes,
    explain_too_large,
)
from consumer.kafka.producer_slot import ProducerSlot
from schemas.settings import KafkaSettings

log = logging.getLogger(__name__)

MAX_BATCH_BYTES = 512 * 1024
RUN_RECORDS = 64


class KafkaSink:
    """A ``ResultSink`` on Kafka topics.

    Messages with a key go where Java's producer puts them; messages without are spread in runs.
    Messages of one partition keep the order in which they were published.

    Args:
        settings: The cluster.
        topics: The topics that will be published to: their limits are asked for at the start.
    """

    def __init__(self, settings: KafkaSettings, topics: Sequence[str]) -> None:
        self._settings = settings
        self._topics = tuple(topics)
        self._doing = f"publishing to {', '.join(self._topics)}"
        self._limits_bytes: dict[str, int] = {}
        self._slot: ProducerSlot | None = None
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._runs: dict[str, RunPartitioner] = {}
        self._calls: set[PublishCall] = set()
        self._failure: SourceError | None = None

    async def start(self) -> None:
        """Connect; see ``ResultSink``."""
        warn_if_slow()
        async with TopicAdmin(self._settings) as admin:
            self._limits_bytes = await admin.message_limits_bytes(self._topics)
        max_batch_bytes = min([MAX_BATCH_BYTES, *self._limits_bytes.values()])
        self._slot = ProducerSlot(self._settings, max_batch_bytes, self._doing)
        producer = await self._slot.start()
        try:
            for topic in self._topics:
                await self._partitions(producer, topic)
        except BaseException:
            await self.stop()
            raise

    async def publish(self, messages: Sequence[Message]) -> list[Rejection]:
        """Publish all; see ``ResultSink``.

        Raises:
            SourceError: The broker refuses us, or the sink is stopped.
        """
        if self._slot is None:
            raise SourceError(f"{self._doing}: not started, or stopped already")
        if not messages:
            return []
        partitions = await self._partitions_of(messages, self._slot)
        if self._failure is not None:
            raise self._failure
        call = PublishCall(len(messages))
        self._calls.add(call)
        try:
            self._enqueue(messages, partitions, call, self._slot)
            await call.done
        finally:
            self._calls.discard(call)
        return sorted(call.rejections, key=lambda rejection: rejection.index)

    async def stop(self) -> None:
        """Disconnect; see ``ResultSink``. Calls of ``publish`` that still wait fail."""
        slot, self._slot = self._slot, None
        if slot is None:
            return
        self._end(SourceError(f"{self._doing}: the sink was stopped"))
        ending = [task for task in [lane.cancel() for lane in self._lanes.values()] if task]
        if ending:
            await asyncio.wait(ending)
        await slot.stop()

    def _enqueue(
        self,
        messages: Sequence[Message],
        partitions: dict[str, list[int]],
        call: PublishCall,
        slot: ProducerSlot,
    ) -> None:
        woken: dict[Lane, None] = {}
        for index, message in enumerate(messages):
            topic = message.topic
            size_bytes = batch_size_bytes(message)
            limit_bytes = self._limit_bytes(topic)
            if size_bytes > limit_bytes:
                call.rejected(index, explain_too_large(message, size_bytes, limit_bytes))
                continue
            if message.key is None:
                number = self._run(topic).next_partition(partitions[topic])
            else:
                number = partitions[topic][partition_of_key(message.key, len(partitions[topic]))]
            lane = self._lane(slot, topic, number)
            lane.append(Entry(message, call, index))
            woken[lane] = None
        for topic in partitions:
            self._run(topic).end_run()
        for lane in woken:
            lane.wake()

    async def _partitions_of(
        self, messages: Sequence[Message], slot: ProducerSlot
    ) -> dict[str, list[int]]:
        """Return each topic's partitions; aiokafka has them at hand, save for a new topic."""
        producer = await slot.get()
        return {
            topic: await self._partitions(producer, topic)
            for topic in {message.topic for message in messages}
        }

    async def _partitions(self, producer: AIOKafkaProducer, topic: str) -> list[int]:
        try:
            return sorted(await producer.partitions_for(topic))
        except errors.KafkaError as error:
            doing = f"publishing to {topic}"
            raise explain(error, self._settings, doing) from error

    def _limit_bytes(self, topic: str) -> int:
        return min(self._limits_bytes.get(topic, DEFAULT_LIMIT_BYTES), LARGEST_REQUEST_BYTES)

    def _run(self, topic: str) -> RunPartitioner:
        run = self._runs.get(topic)
        if run is None:
            run = self._runs[topic] = RunPartitioner(RUN_RECORDS)
        return run

    def _lane(self, slot: ProducerSlot, topic: str, partition: int) -> Lane:
        lane = self._lanes.get((topic, partition))
        if lane is None:
            lane = self._lanes[topic, partition] = Lane(
                slot,
                topic,
                partition,
                explain=lambda error: explain(error, self._settings, f"publishing to {topic}"),
                fail=self._end,
            )
        return lane

    def _end(self, error: SourceError) -> None:
        """Nothing can be published any more: tell every call that waits, and every later one."""
        self._failure = self._failure or error
        for call in self._calls:
            call.failed(self._failure)
