"""Publishes control records."""

from dataclasses import asdict, dataclass
from typing import Any

from aiokafka import AIOKafkaProducer

from consumer.kafka.admin.admin import TopicAdmin
from consumer.kafka.client.connection import client_options, explaining_failures
from headrace.errors import UserError
from schemas.settings.file import KafkaSettings
from schemas.wire.control import ControlRecord


@dataclass(frozen=True, slots=True)
class PublishedControl:
    """A control record on its topic; it cancels requests up to ``timestamp_ms``."""

    target: str
    topic: str
    partition: int
    offset: int
    timestamp_ms: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


async def publish_controls(
    kafka: KafkaSettings, topic: str, controls: list[ControlRecord]
) -> list[PublishedControl]:
    """Publish durably; ``UserError`` without the topic, ``SourceError`` if refused."""
    async with TopicAdmin(kafka) as admin:
        info = (await admin.describe_topics([topic]))[topic]
    if info is None:
        raise UserError(f"there is no topic {topic}: `headrace topics create` makes it")
    published = []
    with explaining_failures(kafka, f"writing to {topic}"):
        producer = AIOKafkaProducer(**client_options(kafka), acks="all", enable_idempotence=True)
        try:
            await producer.start()
            sent = [
                await producer.send(topic, control.to_json(), key=control.key)
                for control in controls
            ]
            for control, acknowledgement in zip(controls, sent, strict=True):
                place = await acknowledgement
                published.append(
                    PublishedControl(
                        control.target, topic, place.partition, place.offset, place.timestamp
                    )
                )
        finally:
            await producer.stop()
    return published
