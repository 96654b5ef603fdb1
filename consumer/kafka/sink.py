"""Publishing results and dead letters, by aiokafka's idempotent producer."""

import asyncio
import logging
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer, errors

from consumer.core.ports import Message, Rejection, SourceError, TopicPartition
from consumer.core.waits import no_broker
from consumer.kafka.admin import TopicAdmin
from consumer.kafka.cluster_waits import cluster_waits
from consumer.kafka.connection import explain, warn_if_slow
from consumer.kafka.lane import Entry, Lane, PublishCall
from consumer.kafka.producer_slot import ProducerSlot
from consumer.kafka.routing import MessageRouter
from schemas.settings import KafkaSettings

log = logging.getLogger(__name__)


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
        self._router = MessageRouter({})
        self._slot: ProducerSlot | None = None
        self._lanes: dict[TopicPartition, Lane] = {}
        self._calls: set[PublishCall] = set()
        self._failure: SourceError | None = None

    async def start(self) -> None:
        """Connect; see ``ResultSink``."""
        warn_if_slow()
        async with TopicAdmin(self._settings) as admin:
            self._router = MessageRouter(await admin.message_limits_bytes(self._topics))
        self._slot = ProducerSlot(self._settings, self._router.max_batch_bytes, self._doing)
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

    def waits(self) -> list[str]:
        """Return what messages under way wait for; see ``ResultSink``."""
        sending = [partition for partition, lane in self._lanes.items() if lane.is_sending]
        if self._slot is None or not sending:
            return []
        cluster = self._slot.cluster
        return [no_broker(self._doing)] if cluster is None else cluster_waits(cluster, sending)

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
        routed = self._router.route(messages, partitions)
        for rejection in routed.rejections:
            call.rejected(rejection.index, rejection.reason)
        for partition, indexes in routed.indexes.items():
            lane = self._lane(slot, partition)
            for index in indexes:
                lane.append(Entry(messages[index], call, index))
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

    def _lane(self, slot: ProducerSlot, partition: TopicPartition) -> Lane:
        lane = self._lanes.get(partition)
        if lane is None:
            doing = f"publishing to {partition.topic}"
            lane = self._lanes[partition] = Lane(
                slot,
                *partition,
                explain=lambda error: explain(error, self._settings, doing),
                fail=self._end,
            )
        return lane

    def _end(self, error: SourceError) -> None:
        """Nothing can be published any more: tell every call that waits, and every later one."""
        self._failure = self._failure or error
        for call in self._calls:
            call.failed(self._failure)
