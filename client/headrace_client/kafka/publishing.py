"""Publishes records to one topic: few requests to the brokers, and a future for each record.

What is published while a partition's batch is under way forms its next batch. Records without a key
are spread over the partitions that have a leader and nothing under way, so that a partition that is
stuck keeps one batch, and no more.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiokafka import errors
from aiokafka.partitioner import murmur2
from aiokafka.structs import TopicPartition

from headrace_client.errors import ClientError, ClosedError, DeliveryError
from headrace_client.kafka.connecting import compression_type, explain
from headrace_client.kafka.producing import ProducerSlot
from headrace_client.kafka.refusals import explain_refusal, is_about_record, is_too_large
from headrace_client.kafka.topics import TopicAdmin
from headrace_client.settings import Connection
from headrace_client.wire.names import Headers, Place

log = logging.getLogger(__name__)

KIB = 1024
DEFAULT_BATCH_BYTES = 256 * KIB
"""Well under the 1 MiB that a topic takes by default; a larger record goes alone."""
UNKNOWN_OFFSET = -1
_LEAST_RUN_RECORDS = 4
_NO_LEADER = -1
_LOOK_AGAIN_S = 0.5
_POSITIVE = 0x7FFFFFFF


class _Record(NamedTuple):
    key: bytes | None
    value: bytes | None
    headers: Headers
    delivered: asyncio.Future[Place]


class RequestPublisher:
    """Publishes to one topic; an async context manager.

    The topic's ``Place`` of each record is the result of its future, or a ``DeliveryError`` that
    says why it was refused. While brokers are away futures stay open: whoever awaits them has a
    timeout of their own, and ``waiting_records`` shows what is held.
    """

    def __init__(
        self,
        connection: Connection,
        topic: str,
        *,
        batch_bytes: int = DEFAULT_BATCH_BYTES,
        compression: str | None = None,
    ) -> None:
        self.topic = topic
        self._connection = connection
        self._doing = f"writing to {topic}"
        self._slot = ProducerSlot(
            connection,
            self._doing,
            {
                "max_batch_size": batch_bytes,
                "compression_type": compression or compression_type(connection),
            },
        )
        self._keyed: dict[int, deque[_Record]] = {}
        self._unkeyed: deque[_Record] = deque()
        self._under_way: dict[int, asyncio.Task[None]] = {}
        self._turn = 0
        self._held_records = 0
        self._is_due = False
        self._look_again: asyncio.TimerHandle | None = None
        self._learning: asyncio.Task[None] | None = None
        self._partitions: tuple[int, ...] = ()
        self._drained = asyncio.Event()
        self._drained.set()
        self._failure: ClientError | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            await self.flush()
        await self.close()

    async def start(self) -> None:
        """Connect; raises ``MissingTopicError`` and ``KafkaError``."""
        async with TopicAdmin(self._connection) as admin:
            await admin.require([self.topic])
        producer = await self._slot.start()
        self._partitions = tuple(sorted(await producer.partitions_for(self.topic)))

    @property
    def waiting_records(self) -> int:
        """Records that no broker has acknowledged or refused yet."""
        return self._held_records

    @property
    def failure(self) -> ClientError | None:
        """What ended the publisher: nothing more is taken."""
        return self._failure

    def publish(
        self, value: bytes | None, *, key: bytes | None = None, headers: Headers = ()
    ) -> asyncio.Future[Place]:
        """Take a record; its place is the future's result once all in-sync replicas have it.

        In the place, an offset of -1 is one that the brokers did not say. Memory is the caller's to
        bound: by how many futures are open.
        """
        future: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        if self._failure is not None:
            future.set_exception(self._failure)
            # A caller may look at none of its futures, and asyncio would complain.
            future.exception()
            return future
        record = _Record(key, value, headers, future)
        self._held_records += 1
        self._drained.clear()
        if key is None:
            self._unkeyed.append(record)
        else:
            partitions = self._numbers()
            number = partitions[(murmur2(key) & _POSITIVE) % len(partitions)]
            self._keyed.setdefault(number, deque()).append(record)
        self._dispatch_soon()
        return future

    async def flush(self) -> None:
        """Wait until every record is acknowledged or refused."""
        await self._drained.wait()

    async def close(self) -> None:
        """Stop at once; futures that are open fail with ``ClosedError``."""
        self._fail(ClosedError(f"{self._doing}: the publisher was closed"))
        if self._look_again is not None:
            self._look_again.cancel()
        tasks = [*self._under_way.values(), *([self._learning] if self._learning else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._slot.stop()

    def _numbers(self) -> tuple[int, ...]:
        cluster = self._slot.cluster
        known = None if cluster is None else cluster.partitions_for_topic(self.topic)
        if known and len(known) != len(self._partitions):
            self._partitions = tuple(sorted(known))
        return self._partitions

    def _dispatch_soon(self) -> None:
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._is_due = False
        free = [each for each in self._numbers() if each not in self._under_way]
        led = [each for each in free if self._has_leader(each)]
        for number in free:
            if self._keyed.get(number):
                self._begin(number, self._keyed[number], len(self._keyed[number]))
        led = [each for each in led if each not in self._under_way]
        if self._unkeyed and led:
            self._turn += 1
            start = self._turn % len(led)
            run = max(_LEAST_RUN_RECORDS, -(-len(self._unkeyed) // len(led)))
            for number in led[start:] + led[:start]:
                if self._unkeyed:
                    self._begin(number, self._unkeyed, run)
        if self._unkeyed and not self._under_way and self._look_again is None:
            loop = asyncio.get_running_loop()
            self._look_again = loop.call_later(_LOOK_AGAIN_S, self._learn_leaders)

    def _has_leader(self, number: int) -> bool:
        cluster = self._slot.cluster
        if cluster is None:
            return True
        leader = cluster.leader_for_partition(TopicPartition(self.topic, number))
        return leader is not None and leader != _NO_LEADER

    def _learn_leaders(self) -> None:
        self._look_again = None
        self._learning = asyncio.create_task(self._learn())

    async def _learn(self) -> None:
        with suppress(errors.KafkaError):
            await self._slot.learn_leaders()
        self._learning = None
        self._dispatch_soon()

    def _begin(self, number: int, waiting: deque[_Record], most: int) -> None:
        task = asyncio.create_task(self._run(number, waiting, most))
        self._under_way[number] = task

    async def _run(self, number: int, waiting: deque[_Record], most: int) -> None:
        records: list[_Record] = []
        try:
            producer = await self._slot.get()
            builder = producer.create_batch()
            while waiting and len(records) < most and _append(builder, waiting[0]):
                records.append(waiting.popleft())
            if records:
                await self._deliver(number, records, builder)
        except errors.KafkaError as error:
            self._fail(explain(error, self._connection, self._doing), records)
        except ClientError as error:
            self._fail(error, records)
        except asyncio.CancelledError:
            self._fail(ClosedError(f"{self._doing}: the publisher was closed"), records)
            raise
        except Exception as error:
            # Whoever waits for these records must hear of every error.
            log.exception("%s failed", self._doing, extra={"event": "publishing_failed"})
            self._fail(DeliveryError(f"{self._doing} failed: {error!r}"), records)
        finally:
            del self._under_way[number]
            self._dispatch_soon()

    async def _deliver(self, number: int, records: Sequence[_Record], builder: Any = None) -> None:
        """Publish, and settle each record's future; raises what ends the whole publisher."""
        while True:
            producer = await self._slot.get()
            if builder is None:
                builder = producer.create_batch()
                for record in records:
                    _append(builder, record)
            try:
                sent = await producer.send_batch(builder, self.topic, partition=number)
                first = (await sent).offset
            except errors.ProducerClosed:
                # Another batch was refused, and this one had not been sent.
                self._slot.retire(producer)
                builder = None
                continue
            except errors.KafkaError as error:
                self._slot.retire(producer)
                if not is_about_record(error):
                    raise
                if len(records) > 1:
                    half = len(records) // 2
                    await self._deliver(number, records[:half])
                    await self._deliver(number, records[half:])
                    return
                reason = explain_refusal(error, self.topic, records[0].key)
                self._settle(records[0], DeliveryError(reason, is_too_large=is_too_large(error)))
                return
            for index, record in enumerate(records):
                offset = first + index if first >= 0 else UNKNOWN_OFFSET
                self._settle(record, Place(self.topic, number, offset))
            return

    def _settle(self, record: _Record, outcome: Place | ClientError) -> None:
        self._held_records -= 1
        if self._held_records == 0:
            self._drained.set()
        if record.delivered.done():
            return
        if isinstance(outcome, Place):
            record.delivered.set_result(outcome)
        else:
            record.delivered.set_exception(outcome)
            # A caller may have given up waiting, and asyncio would complain.
            record.delivered.exception()

    def _fail(self, error: ClientError, records: Sequence[_Record] = ()) -> None:
        self._failure = self._failure or error
        for record in records:
            if not record.delivered.done():
                self._settle(record, error)
        for waiting in (self._unkeyed, *self._keyed.values()):
            while waiting:
                self._settle(waiting.popleft(), error)


def _append(builder: Any, record: _Record) -> bool:
    fits = builder.append(
        timestamp=None, key=record.key, value=record.value, headers=list(record.headers)
    )
    return fits is not None
