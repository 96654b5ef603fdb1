"""Faults of the log: records that go, offsets that move, a topic that is replaced."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from tests.chaos.checks.observer import read_committed_points
from tests.chaos.faults.schedule import Fault, Kind
from tests.chaos.load.records import NewRecord
from tests.chaos.stage.stage import PARTITIONS, Stage

_EMPTY_GROUP_PATIENCE_S = 30.0
_COUNTED_PATIENCE_S = 20.0
_COMMITTED_PATIENCE_S = 45.0
_UNREAD_RECORDS = 100
_IN_FLIGHT_RECORDS = 40
_REFILLED_RECORDS = 1_000

Action = Callable[[Fault], Awaitable[None]]


class LogFaults:
    """Injects faults into the logs of a stage's topics.

    Args:
        stage: The stage.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.actions: Mapping[Kind, Action] = {
            Kind.COMPACTION: self._compaction,
            Kind.TRANSACTION_MARKERS: self._transaction_markers,
            Kind.DELETED_RECORDS: self._deleted_records,
            Kind.RETENTION: self._retention,
            Kind.TOPIC_RECREATED: self._topic_recreated,
            Kind.OFFSET_MOVED: self._offset_moved,
        }

    async def _compaction(self, fault: Fault) -> None:
        workload = self._stage.load.workload
        keys = [workload.next_name().encode() for _ in range(5)]
        records = [workload.make(ms=200) for _ in range(60)]
        await self._stage.load.publish(
            NewRecord(keys[number % len(keys)], record.value)
            for number, record in enumerate(records)
        )

    async def _transaction_markers(self, fault: Fault) -> None:
        stage = self._stage
        producer = AIOKafkaProducer(
            bootstrap_servers=stage.cluster.bootstrap,
            transactional_id=f"requests-{fault.number}",
            transaction_timeout_ms=10_000,
        )
        await producer.start()
        try:
            for is_committed in (True, False, True):
                await producer.begin_transaction()
                for _ in range(10):
                    record = stage.load.workload.make(ms=5)
                    await producer.send(stage.route.requests_topic, record.value, key=record.key)
                if is_committed:
                    await producer.commit_transaction()
                else:
                    await producer.flush()
                    await producer.abort_transaction()
        finally:
            await producer.stop()

    async def _deleted_records(self, fault: Fault) -> None:
        stage = self._stage
        partition = fault.victim % PARTITIONS
        log = stage.observer.log(partition)
        unfinished = stage.checker.unfinished_of(log)
        # Past some unfinished records, so that some are deleted unread or in flight.
        before = unfinished[len(unfinished) // 4] if unfinished else 0
        if not before:
            before = stage.checker.finished_below(log)
        stage.checker.excuse_loss((log, offset) for offset in unfinished if offset < before)
        await self._delete_below(partition, before)

    async def _delete_below(self, partition: int, offset: int) -> None:
        where = TopicPartition(self._stage.route.requests_topic, partition)
        admin = AIOKafkaAdminClient(bootstrap_servers=self._stage.cluster.bootstrap)
        await admin.start()
        try:
            await admin.delete_records({where: RecordsToDelete(offset)})
        finally:
            await admin.close()

    async def _retention(self, fault: Fault) -> None:
        stage = self._stage
        await stage.balanced()
        # A member that stands still for less than its session fetches nothing meanwhile.
        holding = [each for each in stage.members if each.partitions] or stage.members
        member = holding[fault.victim % len(holding)]
        partition = next(iter(member.partitions), 0)
        log = stage.observer.log(partition)
        counted = stage.lost_to_retention_records()
        member.signal(signal.SIGSTOP)
        try:
            # One fetch may have been under way: it takes the first of these records, and no more.
            for _ in range(2):
                await stage.load.publish_together(
                    self._on(partition) for _ in range(_UNREAD_RECORDS)
                )
            end = await self._end_of(partition)
            below = range(stage.checker.finished_below(log), end)
            stage.checker.excuse_loss((log, offset) for offset in below)
            await self._delete_below(partition, end)
        finally:
            member.signal(signal.SIGCONT)
        await stage.until(
            lambda: stage.lost_to_retention_records() >= counted + _UNREAD_RECORDS,
            _COUNTED_PATIENCE_S,
            f"{_UNREAD_RECORDS} records of partition {partition} are counted as lost to retention",
        )

    async def _end_of(self, partition: int) -> int:
        where = TopicPartition(self._stage.route.requests_topic, partition)
        consumer = AIOKafkaConsumer(bootstrap_servers=self._stage.cluster.bootstrap)
        await consumer.start()
        try:
            return int((await consumer.end_offsets([where]))[where])
        finally:
            await consumer.stop()

    def _on(self, partition: int) -> NewRecord:
        key = self._stage.load.key_for(partition)
        return NewRecord(key, self._stage.load.workload.make(ms=5).value)

    async def _topic_recreated(self, fault: Fault) -> None:
        stage = self._stage
        workload = stage.load.workload
        ms = 1_000 + round(3_000 * fault.strength)
        stage.observer.is_checking = False
        # The names drawn from now on belong to the new topic.
        await stage.load.paused()
        try:
            slow = [workload.make(ms=ms) for _ in range(_IN_FLIGHT_RECORDS)]
            await stage.load.publish_together(slow)
            # Long enough to be read and in flight, too short to be done.
            await asyncio.sleep(0.5)
            stage.checker.deleted(stage.observer.log(each) for each in range(PARTITIONS))
            await stage.recreate_requests_topic()
            stage.observer.recreated(workload.drawn)
            # At once, so that the new log may reach past what was read of the old one.
            quick = [workload.make(ms=0) for _ in range(_REFILLED_RECORDS)]
            await stage.load.publish_together(quick)
        finally:
            stage.load.resume()
        # Until a new owner has committed, a partition's committed offset may be the old topic's.
        await stage.until(
            lambda: all(self._is_of_new_topic(each) for each in range(PARTITIONS)),
            _COMMITTED_PATIENCE_S,
            "the group has committed what it has done of the new topic",
        )
        await stage.balanced()
        stage.observer.is_checking = True

    def _is_of_new_topic(self, partition: int) -> bool:
        offset, _ = self._stage.observer.committed.get(partition, (0, ""))
        finished = self._stage.checker.finished_below(self._stage.observer.log(partition))
        return 0 < offset <= finished

    async def _offset_moved(self, fault: Fault) -> None:
        stage = self._stage
        # Only members end what a broker's restart left open.
        await stage.balanced()
        await stage.caught_up()
        members = list(stage.members)
        for member in members:
            await stage.remove_member(member)
        stage.observer.is_checking = False
        try:
            await self._move_offset(fault)
        finally:
            for member in members:
                await stage.add_member(member.rank)
        await stage.balanced()
        # Until each partition has been committed again, its committed offset says nothing about
        # outcomes.
        await asyncio.sleep(2.0)
        stage.observer.is_checking = True

    async def _move_offset(self, fault: Fault) -> None:
        stage = self._stage
        partition = fault.victim % PARTITIONS
        where = TopicPartition(stage.route.requests_topic, partition)
        admin = AIOKafkaAdminClient(bootstrap_servers=stage.cluster.bootstrap)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=stage.cluster.bootstrap,
            group_id=stage.route.group,
            enable_auto_commit=False,
        )
        await admin.start()
        await consumer.start()
        consumer.assign([where])
        try:
            await stage.caught_up()
            points = await read_committed_points(admin, stage.route)
            was, metadata = points.get(partition, (0, ""))
            start = (await consumer.beginning_offsets([where]))[where]
            is_forward = fault.victim & 0x100
            distance = 1 + round(30 * fault.strength)
            now = max(start, was + distance if is_forward else was - distance)
            end = (await consumer.end_offsets([where]))[where]
            now = min(now, end)
            stage.checker.offset_moved(stage.observer.log(partition), was, metadata, now)
            give_up_at_s = stage.clock.monotonic() + _EMPTY_GROUP_PATIENCE_S
            while True:
                try:
                    # Refused while a member's session still counts.
                    await consumer.commit({where: OffsetAndMetadata(now, "")})
                except KafkaError:
                    if stage.clock.monotonic() > give_up_at_s:
                        raise
                    await asyncio.sleep(0.3)
                else:
                    return
        finally:
            await consumer.stop()
            await admin.close()
