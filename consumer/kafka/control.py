"""Reads a control topic: every consumer replica reads all of it, in no group."""

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition as KafkaPartition

from consumer.kafka.admin.admin import TopicAdmin
from consumer.kafka.client.connection import client_options, explaining_failures
from consumer.kafka.client.mending import check_tasks, mend_client_of
from consumer.kafka.client.reach import start_within_reach
from consumer.ports import Record, SourceError, TopicPartition
from headrace_client.kafka.mending import space_out_empty_fetches
from schemas.settings.file import KafkaSettings

MAX_POLL_RECORDS = 1_000
_FETCH_WAIT_MS = 500


class KafkaControlSource:
    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        self._settings = settings
        self._topic = topic
        self._doing = f"reading control topic {topic}"
        self._consumer: AIOKafkaConsumer | None = None
        self._behind: dict[KafkaPartition, int] = {}

    async def start(self) -> None:
        async with TopicAdmin(self._settings) as admin:
            info = (await admin.describe_topics([self._topic]))[self._topic]
        if info is None:
            raise SourceError(
                f"{self._doing}: there is no such topic; `headrace topics create` makes it"
            )
        partitions = [KafkaPartition(self._topic, number) for number in range(info.partitions)]
        with explaining_failures(self._settings, self._doing):
            consumer = AIOKafkaConsumer(
                **client_options(self._settings),
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
                fetch_max_wait_ms=_FETCH_WAIT_MS,
            )
            mend_client_of(consumer)
            self._consumer = consumer
            try:
                await start_within_reach(consumer, self._doing)
                if self._settings.broker == "embedded":
                    space_out_empty_fetches(consumer)
                consumer.assign(partitions)
                self._behind = dict(await consumer.end_offsets(partitions))
                await consumer.seek_to_beginning(*partitions)
            except BaseException:
                await self.stop()
                raise

    async def poll(self, timeout_s: float) -> list[Record]:
        if self._consumer is None:
            raise SourceError(f"{self._doing}: not started, or stopped already")
        check_tasks(self._consumer)
        with explaining_failures(self._settings, self._doing):
            await self._read_added(self._consumer)
            batches = await self._consumer.getmany(
                timeout_ms=int(timeout_s * 1000), max_records=MAX_POLL_RECORDS
            )
            await self._note_positions(self._consumer)
        return [
            Record(
                TopicPartition(*partition),
                each.offset,
                each.key,
                each.value,
                list(each.headers),
                each.timestamp,
            )
            for partition, records in batches.items()
            for each in records
        ]

    @property
    def is_caught_up(self) -> bool:
        return not self._behind

    async def stop(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    async def _read_added(self, consumer: AIOKafkaConsumer) -> None:
        numbers = consumer.partitions_for_topic(self._topic) or ()
        assigned = consumer.assignment()
        added = {KafkaPartition(self._topic, number) for number in numbers} - assigned
        if not added:
            return
        positions = {each: await consumer.position(each) for each in assigned}
        consumer.assign([*assigned, *added])
        for partition, position in positions.items():
            consumer.seek(partition, position)

    async def _note_positions(self, consumer: AIOKafkaConsumer) -> None:
        # By position: offsets of transaction markers and of compacted records never come.
        for partition, end in list(self._behind.items()):
            if await consumer.position(partition) >= end:
                del self._behind[partition]
