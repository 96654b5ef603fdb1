"""Administration for the handling of dead letters: a compacted topic, and deleted records."""

from collections.abc import Mapping

from aiokafka import errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.structs import TopicPartition as KafkaPartition

from consumer.kafka.admin.admin import TopicAdmin, TopicInfo
from consumer.kafka.client.connection import client_options, explaining_failures
from consumer.ports import SourceError
from schemas.settings.file import KafkaSettings

DELETE_TIMEOUT_MS = 30_000


async def create_compacted_topic(kafka: KafkaSettings, topic: str, *, like: str) -> None:
    """Create a compacted topic of one partition where it is missing; wait until brokers show it.

    Args:
        kafka: The cluster.
        topic: Its name.
        like: The topic that it takes its replication factor from.

    Raises:
        SourceError: It could not be created; says what to check.
    """
    async with TopicAdmin(kafka) as admin:
        found = await admin.describe_topics([topic, like])
        if found[topic] is not None:
            return
        copies = (found[like] or TopicInfo(1, 1)).replication_factor
        client = AIOKafkaAdminClient(**client_options(kafka))
        with explaining_failures(kafka, f"creating {topic}"):
            try:
                await client.start()
                configs = {"cleanup.policy": "compact"}
                response = await client.create_topics(
                    [NewTopic(topic, 1, copies, topic_configs=configs)]
                )
            finally:
                await client.close()
        for _topic, error_code, *message in response.topic_errors:
            error = errors.for_code(error_code)
            if error not in (errors.NoError, errors.TopicAlreadyExistsError):
                said = message[0] if message and message[0] else error.description
                raise SourceError(
                    f"cannot create {topic}: {error.__name__}: {said}; grant this user Create on "
                    f"it, or create it with 1 partition and cleanup.policy=compact"
                )
        # It exists: this waits until the brokers show it.
        await admin.ensure_topics({topic: TopicInfo(1, copies)})


async def delete_records_below(
    kafka: KafkaSettings, topic: str, offsets: Mapping[int, int]
) -> None:
    """Delete a topic's records below an offset for each partition.

    Raises:
        SourceError: The cluster refuses, e.g. as the topic is compacted only; says what to check.
    """
    wanted = {
        KafkaPartition(topic, number): RecordsToDelete(offset) for number, offset in offsets.items()
    }
    if not wanted:
        return
    client = AIOKafkaAdminClient(**client_options(kafka))
    with explaining_failures(kafka, f"deleting records of {topic}"):
        try:
            await client.start()
            await client.delete_records(wanted, timeout_ms=DELETE_TIMEOUT_MS)
        except errors.PolicyViolationError as error:
            raise SourceError(
                f"{topic}: its cleanup.policy does not let records be deleted ({error}); set it to "
                "delete, or use --keep-records"
            ) from error
        except errors.TopicAuthorizationFailedError as error:
            raise SourceError(
                f"deleting records of {topic}: {error}; grant this user Delete on the topic, or "
                "use --keep-records"
            ) from error
        finally:
            await client.close()
