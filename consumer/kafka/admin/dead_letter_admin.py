"""Administration for the handling of dead letters: a compacted topic, and deleted records."""

from collections.abc import Mapping

from aiokafka import errors
from aiokafka.admin import RecordsToDelete
from aiokafka.structs import TopicPartition as KafkaPartition

from consumer.kafka.admin.admin import TopicAdmin, TopicInfo
from consumer.kafka.client.connection import explaining_failures
from consumer.ports import SourceError
from schemas.settings.file import KafkaSettings

DELETE_TIMEOUT_MS = 30_000


async def create_compacted_topic(kafka: KafkaSettings, topic: str, *, like: str) -> None:
    """Create a compacted topic of one partition, replicated like ``like``; wait until it shows."""
    async with TopicAdmin(kafka) as admin:
        found = await admin.describe_topics([topic, like])
        if found[topic] is None:
            copies = (found[like] or TopicInfo(1, 1)).replication_factor
            hint = (
                "grant this user Create on it, or create it with 1 partition and "
                "cleanup.policy=compact"
            )
            settings = {topic: {"cleanup.policy": "compact"}}
            await admin.create({topic: TopicInfo(1, copies)}, hint, settings)


async def delete_records_below(
    kafka: KafkaSettings, topic: str, offsets: Mapping[int, int]
) -> None:
    """Delete records below offsets; ``SourceError`` e.g. if the topic is compacted only."""
    wanted = {
        KafkaPartition(topic, number): RecordsToDelete(offset) for number, offset in offsets.items()
    }
    if not wanted:
        return
    async with TopicAdmin(kafka) as admin:
        with explaining_failures(kafka, f"deleting records of {topic}"):
            try:
                await admin.client.delete_records(wanted, timeout_ms=DELETE_TIMEOUT_MS)
            except errors.PolicyViolationError as error:
                raise SourceError(
                    f"{topic}: its cleanup.policy does not let records be deleted ({error}); set "
                    "it to delete, or use --keep-records"
                ) from error
            except errors.TopicAuthorizationFailedError as error:
                raise SourceError(
                    f"deleting records of {topic}: {error}; grant this user Delete on the topic, "
                    "or use --keep-records"
                ) from error
