"""Publishes to reply topics at least once, over requests of its own.

aiokafka's producer is no help here. It keeps the metadata and the sequence numbers of every topic
that it ever wrote to, creates a topic that was deleted where brokers allow that, and has to be
replaced after each refusal, which the route's own topics would suffer. Without sequence numbers a
batch whose answer is lost may be written twice, as it is whenever a producer is replaced.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from aiokafka import errors
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from consumer.engine.counters import Published
from consumer.kafka.client.cluster_client import ClusterClient, cluster_waits
from consumer.kafka.client.connection import compression_code, explaining_failures
from consumer.kafka.replies.directory import ReplyDirectory, Verdict, reject_absent
from consumer.kafka.sink.produce import produce_request, produced_codes
from consumer.kafka.sink.producer_slot import FIRST_BACKOFF_S
from consumer.kafka.sink.refusals import INVALID_TIMESTAMP, TOO_LARGE, explain_refusal
from consumer.kafka.sink.routing import BACKED_UP_RECORDS, MessageRouter
from consumer.kafka.transactions.errors import NONE, NextStep, next_step
from consumer.ports import Message, PublishListener, Rejection, SourceError, TopicPartition
from schemas.settings.file import KafkaSettings

log = logging.getLogger(__name__)

PATIENCE_S = 10.0
"""How long a partition may take nothing: then its messages are rejected, as passing."""
_LOOK_UP_S = 5.0
_REQUEST_TIMEOUT_MS = 10_000
_MOST_BACKOFF_S = 1.0
_RESOLUTION_S = 0.001
_MOST_REQUEST_BYTES = 4 * 1024 * 1024
_MAGIC = 2
_NO_PRODUCER = -1


class _Backoff(NamedTuple):
    pause_s: float
    again_at_s: float


class _Batch(NamedTuple):
    messages: Sequence[Message]
    encoded: bytes


class ReplySender:
    """Sends one batch at a time to each partition, and one request at a time to each broker.

    So a partition without a leader, or a broker that does not answer, delays its own messages. Of a
    topic nothing is kept but what waits, and what the directory remembers of the last ones.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        listener: PublishListener,
        fail: Callable[[SourceError], None],
        published: Published | None = None,
    ) -> None:
        self._published = published or Published()
        self._settings = settings
        self._listener = listener
        self._fail = fail
        self._client = ClusterClient(settings, "headrace-replies", _REQUEST_TIMEOUT_MS)
        self._codec = compression_code(settings)
        self._router = MessageRouter()
        self._directory = ReplyDirectory(self._client, self._router.forget)
        self._router.reply_limits = self._directory.limits
        self._connecting = asyncio.Lock()
        self._is_connected = False
        self._unplaced: dict[str, list[Message]] = {}
        self._waiting: dict[TopicPartition, deque[Message]] = {}
        self._sending: set[TopicPartition] = set()
        self._failing_since_s: dict[TopicPartition, float] = {}
        self._backoffs: dict[TopicPartition, _Backoff] = {}
        self._most_records: dict[TopicPartition, int] = {}
        self._placing: asyncio.Task[None] | None = None
        self._lanes: dict[int, asyncio.Task[None]] = {}
        self._is_stopped = False

    def send(self, messages: Iterable[Message]) -> None:
        by_topic: dict[str, list[Message]] = {}
        for message in messages:
            by_topic.setdefault(message.topic, []).append(message)
        placed: set[TopicPartition] = set()
        for topic, of_topic in by_topic.items():
            if topic not in self._unplaced and self._directory.knows(topic):
                placed |= self._place(topic, of_topic)
            else:
                self._unplaced.setdefault(topic, []).extend(of_topic)
        self._start_lanes(placed)
        self._start_placing()

    async def find_missing(self, topics: Collection[str]) -> set[str]:
        """Return which topics do not exist; ``SourceError`` if no broker answers."""
        with explaining_failures(self._settings, "looking up reply topics"):
            await self._connect()
            return await self._directory.missing(topics)

    def waits(self) -> list[str]:
        return cluster_waits(self._client.cluster, self._failing_since_s)

    async def stop(self) -> None:
        self._is_stopped = True
        tasks = [*self._lanes.values(), *([self._placing] if self._placing else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._client.close()

    async def _connect(self) -> None:
        async with self._connecting:
            if not self._is_connected:
                await self._client.start([])
                self._is_connected = True

    def _start_placing(self) -> None:
        if self._unplaced and self._placing is None:
            self._placing = asyncio.create_task(self._place_unplaced())
            self._placing.add_done_callback(self._note_end)

    async def _place_unplaced(self) -> None:
        """Look the topics up, and line their messages up for the partitions' leaders."""
        try:
            while self._unplaced:
                by_topic = dict(self._unplaced)
                try:
                    async with asyncio.timeout(_LOOK_UP_S):
                        await self._connect()
                        verdicts = await self._directory.find(by_topic)
                except (TimeoutError, OSError, errors.KafkaError, SourceError) as error:
                    for topic in by_topic:
                        reason = f"topic {topic} cannot be looked up: {error!r}"
                        self._pass(self._unplaced.pop(topic), reason)
                    continue
                placed: set[TopicPartition] = set()
                for topic in by_topic:
                    messages = self._unplaced.pop(topic)
                    if verdicts[topic] is Verdict.FOUND:
                        placed |= self._place(topic, messages)
                        continue
                    for message in messages:
                        self._listener.rejected(reject_absent(message, verdicts[topic]))
                self._start_lanes(placed)
        finally:
            self._placing = None

    def _place(self, topic: str, messages: Sequence[Message]) -> set[TopicPartition]:
        numbers = sorted(self._client.cluster.partitions_for_topic(topic) or ())
        if not numbers:  # it was deleted since it was found
            self._directory.forget(topic)
            self._unplaced.setdefault(topic, []).extend(messages)
            return set()
        routed = self._router.route(messages, {topic: numbers}, self._is_backed_up)
        if routed.rejections:
            self._directory.note_refusal(topic)
        for rejection in routed.rejections:
            self._listener.rejected(rejection)
        for partition, of_partition in routed.messages.items():
            self._waiting.setdefault(partition, deque()).extend(of_partition)
        return set(routed.messages)

    def _is_backed_up(self, partition: TopicPartition) -> bool:
        return (
            partition in self._failing_since_s
            or self._client.is_leaderless(partition)
            or len(self._waiting.get(partition, ())) > BACKED_UP_RECORDS
        )

    def _pass(self, messages: Iterable[Message], reason: str) -> None:
        for message in messages:
            self._listener.rejected(Rejection(message, reason, is_passing=True))

    def _start_lanes(self, partitions: Collection[TopicPartition]) -> None:
        if partitions:
            self._start_lanes_of(self._client.leaders(partitions))

    def _start_lanes_of(self, by_leader: Mapping[int | None, list[TopicPartition]]) -> None:
        for leader, led in by_leader.items():
            if leader is None:
                self._sort_out(led)
            elif leader not in self._lanes:
                self._lanes[leader] = task = asyncio.create_task(self._run_lane(leader))
                task.add_done_callback(self._note_end)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error(
                "publishing to reply topics failed",
                exc_info=error,
                extra={"event": "publishing_failed"},
            )
            self._fail(SourceError(f"publishing to reply topics failed: {error!r}"))

    async def _run_lane(self, leader: int) -> None:
        try:
            while batches := self._next_batches(leader):
                if failed := await self._send(leader, batches):
                    await self._client.learn_leaders()
                    self._sort_out(failed)
        finally:
            del self._lanes[leader]
        self._go_on()

    def _go_on(self) -> None:
        if not self._is_stopped:
            self._start_lanes(self._ready())
            self._start_placing()

    def _ready(self) -> list[TopicPartition]:
        """Return where a batch may be sent to now, in turn."""
        # A timer may fire early by the clock's resolution.
        now_s = asyncio.get_running_loop().time() + _RESOLUTION_S
        return [
            each
            for each in self._waiting
            if each not in self._sending
            and (each not in self._backoffs or self._backoffs[each].again_at_s <= now_s)
        ]

    def _back_off(self, partition: TopicPartition) -> None:
        loop = asyncio.get_running_loop()
        last = self._backoffs.get(partition)
        pause_s = FIRST_BACKOFF_S if last is None else min(2 * last.pause_s, _MOST_BACKOFF_S)
        self._backoffs[partition] = _Backoff(pause_s, loop.time() + pause_s)
        loop.call_at(self._backoffs[partition].again_at_s, self._go_on)

    def _next_batches(self, leader: int) -> dict[TopicPartition, _Batch]:
        batches: dict[TopicPartition, _Batch] = {}
        size_bytes = 0
        by_leader = self._client.leaders(self._ready())
        for partition in by_leader.get(leader, ()):
            if size_bytes >= _MOST_REQUEST_BYTES:
                break
            batch = self._fill(partition)
            if batch is not None:
                batches[partition] = batch
                size_bytes += len(batch.encoded)
                self._sending.add(partition)
        # Some may have another leader by now, and this lane may never run dry.
        self._start_lanes_of(by_leader)
        return batches

    def _fill(self, partition: TopicPartition) -> _Batch | None:
        waiting = self._waiting[partition]
        builder = DefaultRecordBatchBuilder(
            _MAGIC,
            self._codec,
            is_transactional=0,
            producer_id=_NO_PRODUCER,
            producer_epoch=_NO_PRODUCER,
            base_sequence=_NO_PRODUCER,
            batch_size=self._router.batch_bytes(partition.topic),
        )
        messages: list[Message] = []
        most = self._most_records.get(partition, len(waiting))
        while waiting and len(messages) < most:
            message = waiting[0]
            if self._listener.is_wanted(message):
                _topic, key, value, headers, _item = message
                if builder.append(len(messages), None, key, value, headers=headers) is None:
                    break
                messages.append(message)
            else:
                self._listener.dropped(message)
            waiting.popleft()
        if waiting:
            self._waiting[partition] = self._waiting.pop(partition)  # the last one's turn is next
        elif messages:
            del self._waiting[partition]
        else:
            self._take_waiting(partition)
        return _Batch(messages, bytes(builder.build())) if messages else None

    async def _send(
        self, leader: int, batches: Mapping[TopicPartition, _Batch]
    ) -> set[TopicPartition]:
        """Send a batch to each partition; return those that have to be tried again."""
        encoded = ((partition, batch.encoded) for partition, batch in batches.items())
        request = produce_request(None, _REQUEST_TIMEOUT_MS, encoded)
        codes: dict[TopicPartition, int] = {}
        reason = "the leader does not name it in its answer"
        begun_s = asyncio.get_running_loop().time()
        try:
            codes = produced_codes(await self._client.ask_broker(leader, request))
        except errors.KafkaError as error:
            reason = repr(error)
        finally:
            self._sending -= batches.keys()
        failed = set()
        for partition, batch in batches.items():
            if not self._end(partition, batch, codes.get(partition), reason, begun_s):
                failed.add(partition)
        return failed

    def _end(
        self,
        partition: TopicPartition,
        batch: _Batch,
        code: int | None,
        reason: str,
        begun_s: float,
    ) -> bool:
        """Report a batch that has ended; return whether it has, or goes on at once."""
        if code == NONE:
            self._failing_since_s.pop(partition, None)
            self._backoffs.pop(partition, None)
            self._most_records.pop(partition, None)
            self._published.acknowledged(len(batch.messages), len(batch.encoded))
            self._listener.acknowledged(batch.messages)
            return True
        if code is not None:
            reason = errors.for_code(code).__name__
            step = next_step(code)
            if step is NextStep.REJECT:
                self._failing_since_s.pop(partition, None)
                self._backoffs.pop(partition, None)
                return self._narrow_down(partition, batch, code)
            if step is NextStep.REFUSED:
                self._directory.note_denied(partition.topic)
                for message in (*batch.messages, *self._take_waiting(partition)):
                    self._listener.rejected(reject_absent(message, Verdict.DENIED))
                return True
        self._put_back(partition, batch.messages)
        now_s = asyncio.get_running_loop().time()
        since_s = self._failing_since_s.setdefault(partition, begun_s)
        if now_s - since_s >= PATIENCE_S:
            topic, number = partition
            reason = f"{topic}/{number} takes nothing ({reason})"
            self._pass(self._take_waiting(partition), reason)
            return True
        self._back_off(partition)
        self._published.publish_retries += 1
        log.info(
            "publishing to %s/%d again after %s",
            *partition,
            reason,
            extra={"event": "publishing_retried", **partition._asdict()},
        )
        return False

    def _narrow_down(self, partition: TopicPartition, batch: _Batch, code: int) -> bool:
        if len(batch.messages) > 1:
            self._most_records[partition] = len(batch.messages) // 2
            self._put_back(partition, batch.messages)
            return True
        is_first = self._most_records.get(partition) != 1
        if code == INVALID_TIMESTAMP and is_first:
            # It may have waited long for its leader; now it gets the time of its next try.
            self._most_records[partition] = 1
            self._put_back(partition, batch.messages)
            return True
        self._most_records.pop(partition, None)
        self._directory.note_refusal(partition.topic)
        (message,) = batch.messages
        reason = explain_refusal(code, message)
        self._listener.rejected(Rejection(message, reason, is_too_large=code in TOO_LARGE))
        return True

    def _put_back(self, partition: TopicPartition, messages: Sequence[Message]) -> None:
        self._waiting.setdefault(partition, deque()).extendleft(reversed(messages))

    def _take_waiting(self, partition: TopicPartition) -> Iterable[Message]:
        """Take all that waits, and forget the partition."""
        self._failing_since_s.pop(partition, None)
        self._backoffs.pop(partition, None)
        self._most_records.pop(partition, None)
        return self._waiting.pop(partition, ())

    def _sort_out(self, partitions: Iterable[TopicPartition]) -> None:
        """Look topics up again that have gone or shrunk; try the other partitions again."""
        for partition in partitions:
            topic, number = partition
            if number in (self._client.cluster.partitions_for_topic(topic) or ()):
                if self._client.is_leaderless(partition):
                    self._pass(self._take_waiting(partition), f"{topic}/{number} has no leader")
                continue
            self._unplaced.setdefault(topic, []).extend(self._take_waiting(partition))
        self._start_placing()
