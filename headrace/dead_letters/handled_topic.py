"""Stores handled dead letters in a compacted topic beside the dead-letter topic.

Not in a consumer group's offsets: those expire a week after the last commit, so that everything
would be replayed again, and a commit's metadata is too small for a long list of what filters left
out. A page's record is published in the transaction that publishes its replayed records.
"""

from contextlib import aclosing

from consumer.kafka.admin.dead_letter_admin import create_compacted_topic
from consumer.ports import SourceError
from headrace.dead_letters.handled import HandledOffsets, HandledPageError
from headrace.errors import UserError
from headrace.records.reading import LogReader
from schemas.settings.file import KafkaSettings
from schemas.settings.reply_checks import HANDLED_SUFFIX

SUFFIX = HANDLED_SUFFIX
MAX_TOPIC_CHARACTERS = 249


def handled_topic_of(dead_letters_topic: str) -> str:
    """Return the topic that remembers what was handled; raises ``UserError`` for a long name."""
    name = dead_letters_topic + SUFFIX
    if len(name) > MAX_TOPIC_CHARACTERS:
        raise UserError(
            f"dead_letters_topic: {dead_letters_topic} leaves no room for '{SUFFIX}' behind it, "
            "the topic that remembers what was handled; choose a shorter name"
        )
    return name


def transactional_id(dead_letters_topic: str) -> str:
    return f"headrace-dlq.{dead_letters_topic}"


def page_key(partition: int, page: int) -> bytes:
    return f"{partition}/{page}".encode()


async def load_handled(reader: LogReader, dead_letters_topic: str) -> dict[int, HandledOffsets]:
    """Return what was handled of each partition; raises ``SourceError`` if it cannot be read."""
    topic = handled_topic_of(dead_letters_topic)
    handled: dict[int, HandledOffsets] = {}
    async with aclosing(reader.read(topic, await reader.ranges(topic) or {})) as parts:
        async for record in (record async for part in parts for record in part.records):
            try:
                partition, page = map(int, (record.key or b"").decode().split("/"))
                handled.setdefault(partition, HandledOffsets()).load(page, record.value)
            except (HandledPageError, ValueError) as error:
                raise SourceError(
                    f"{topic}: offset {record.offset} is no page of handled dead letters "
                    f"({error}); nothing but `headrace dlq` may write to this topic"
                ) from error
    return handled


async def ensure_handled_topic(kafka: KafkaSettings, dead_letters_topic: str) -> str:
    """Create the topic if it is missing, replicated like the dead letters; return its name."""
    topic = handled_topic_of(dead_letters_topic)
    await create_compacted_topic(kafka, topic, like=dead_letters_topic)
    return topic
