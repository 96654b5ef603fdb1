"""Publishes results and dead letters by aiokafka's idempotent producer."""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from functools import partial

from aiokafka import AIOKafkaProducer, errors

from consumer.engine.counters import Published
from consumer.engine.waiting.waits import no_broker
from consumer.kafka.admin.limits_reader import LimitsReader
from consumer.kafka.admin.topic_settings import TopicLimits
from consumer.kafka.client.cluster_client import cluster_waits
from consumer.kafka.client.connection import explain, warn_if_slow
from consumer.kafka.replies.sender import ReplySender
from consumer.kafka.sink.partition_writer import PartitionWriter
from consumer.kafka.sink.producer_slot import ProducerSlot
from consumer.kafka.sink.routing import BACKED_UP_RECORDS, RUN_RECORDS, MessageRouter
from consumer.ports import Message, PublishListener, SourceError, TopicPartition
from schemas.settings.file import KafkaSettings

log = logging.getLogger(__name__)


class KafkaSink:
    """A ``ResultSink`` on Kafka topics.

    Messages with a key go where Java's producer puts them; messages without are spread in runs.
    Messages of one partition keep the order in which they were published. The limits of ``topics``
    are read at the start. All other topics are reply topics, which ``ReplySender`` serves. It
    counts in ``published``.
    """

    def __init__(
        self, settings: KafkaSettings, topics: Sequence[str], published: Published | None = None
    ) -> None:
        self._published = published or Published()
        self._settings = settings
        self._topics = tuple(topics)
        self._doing = f"publishing to {', '.join(self._topics)}"
        self._router = MessageRouter()
        self._limits = LimitsReader(settings, self._topics, self._learn)
        self._slot: ProducerSlot | None = None
        self._listener: PublishListener | None = None
        self._replies: ReplySender | None = None
        self._writers: dict[TopicPartition, PartitionWriter] = {}
        self._in_turn = asyncio.Lock()
        self._failure: SourceError | None = None

    async def start(self, listener: PublishListener) -> None:
        self._listener = listener
        warn_if_slow()
        await self._limits.read()
        self._slot = ProducerSlot(
            self._settings, self._router.max_batch_bytes, self._doing, self._published
        )
        producer = await self._slot.start()
        try:
            for topic in self._topics:
                await self._partitions(producer, topic)
        except BaseException:
            await self.stop()
            raise

    async def send(self, messages: Sequence[Message]) -> None:
        if self._slot is None or self._listener is None:
            raise SourceError(f"{self._doing}: not started, or stopped already")
        if not messages:
            return
        async with self._in_turn:
            topics = {message.topic for message in messages}
            if not topics.issubset(self._topics):
                messages = self._send_replies(messages, self._listener)
                topics.intersection_update(self._topics)
            partitions = await self._partitions_of(topics, self._slot)
            if self._failure is not None:
                raise self._failure
            self._enqueue(messages, partitions, self._listener, self._slot)

    def flush(self) -> None:
        for writer in self._writers.values():
            writer.flush()

    def _send_replies(
        self, messages: Sequence[Message], listener: PublishListener
    ) -> list[Message]:
        """Send what is for reply topics, and return the rest."""
        self._reply_sender(listener).send(
            [each for each in messages if each.topic not in self._topics]
        )
        return [each for each in messages if each.topic in self._topics]

    async def find_missing(self, topics: Collection[str]) -> set[str]:
        if self._slot is None or self._listener is None:
            raise SourceError(f"{self._doing}: not started, or stopped already")
        return await self._reply_sender(self._listener).find_missing(topics)

    def _reply_sender(self, listener: PublishListener) -> ReplySender:
        if self._replies is None:
            self._replies = ReplySender(self._settings, listener, self._end, self._published)
        return self._replies

    def waits(self) -> list[str]:
        of_replies = [] if self._replies is None else self._replies.waits()
        return [*self._own_waits(), *of_replies]

    def _own_waits(self) -> list[str]:
        sending = [partition for partition, writer in self._writers.items() if writer.records]
        if self._slot is None or not sending:
            return []
        cluster = self._slot.cluster
        return [no_broker(self._doing)] if cluster is None else cluster_waits(cluster, sending)

    async def stop(self) -> None:
        """Disconnect; see ``ResultSink``. The listener hears of it if a message waits."""
        slot, self._slot = self._slot, None
        if slot is None:
            return
        self._end(SourceError(f"{self._doing}: the sink was stopped"))
        ending = [task for each in self._writers.values() if (task := each.cancel())]
        if ending:
            await asyncio.wait(ending)
        await self._limits.stop()
        if self._replies is not None:
            await self._replies.stop()
        await slot.stop()

    def _learn(self, limits: Mapping[str, TopicLimits]) -> None:
        self._router.limits = limits

    def _enqueue(
        self,
        messages: Sequence[Message],
        partitions: dict[str, list[int]],
        listener: PublishListener,
        slot: ProducerSlot,
    ) -> None:
        routed = self._router.route(messages, partitions, self._is_backed_up)
        if routed.rejections:
            self._limits.look_again()
        for rejection in routed.rejections:
            listener.rejected(rejection)
        for partition, placed in routed.messages.items():
            self._writer(slot, listener, partition).send(placed)

    def _is_backed_up(self, partition: TopicPartition) -> bool:
        writer = self._writers.get(partition)
        # A partition that took nothing last gets a single run, which finds out whether it does
        # again.
        most_records = 0 if writer is not None and writer.is_stuck else BACKED_UP_RECORDS
        return writer is not None and writer.records > most_records

    async def _partitions_of(
        self, topics: Collection[str], slot: ProducerSlot
    ) -> dict[str, list[int]]:
        producer = await slot.get()
        return {topic: await self._partitions(producer, topic) for topic in topics}

    async def _partitions(self, producer: AIOKafkaProducer, topic: str) -> list[int]:
        try:
            return sorted(await producer.partitions_for(topic))
        except errors.KafkaError as error:
            doing = f"publishing to {topic}"
            raise explain(error, self._settings, doing) from error

    def _writer(
        self, slot: ProducerSlot, listener: PublishListener, partition: TopicPartition
    ) -> PartitionWriter:
        writer = self._writers.get(partition)
        if writer is None:
            doing = f"publishing to {partition.topic}"
            writer = self._writers[partition] = PartitionWriter(
                slot,
                *partition,
                listener=listener,
                explain=lambda error: explain(error, self._settings, doing),
                fail=self._end,
                on_refused=self._limits.look_again,
                move=partial(self._move, partition),
                published=self._published,
                linger_s=self._settings.linger_ms / 1000,
            )
        return writer

    def _move(self, stuck: TopicPartition, messages: Sequence[Message]) -> bool:
        others = [
            writer
            for partition, writer in self._writers.items()
            if partition.topic == stuck.topic and partition != stuck and not writer.is_stuck
        ]
        if others:
            for number, start in enumerate(range(0, len(messages), RUN_RECORDS)):
                others[number % len(others)].send(messages[start : start + RUN_RECORDS])
        return bool(others)

    def _end(self, error: SourceError) -> None:
        """Nothing can be published any more: fail what waits, and every later call."""
        self._failure = self._failure or error
        if self._listener is not None and any(each.records for each in self._writers.values()):
            self._listener.failed(self._failure)
