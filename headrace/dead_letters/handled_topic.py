"""Where handled dead letters are remembered: a compacted topic beside the dead-letter topic.

Not in a consumer group's offsets: those expire a week after the last commit, which would replay
everything again, and a commit's metadata holds no long list of what filters left out. The record
of a page is published in the transaction that publishes the replayed records of it.
"""

from contextlib import aclosing

from consumer.kafka.admin.dead_letter_admin import create_compacted_topic
from consumer.ports import SourceError
from headrace.dead_letters.handled import HandledOffsets, HandledPageError
from headrace.dead_letters.names import handled_topic_of
from headrace.requests.reading import MissingTopicError, read_topic
from schemas.settings.file import KafkaSettings


def page_key(partition: int, page: int) -> bytes:
    """Return the key of a page's record."""
    return f"{partition}/{page}".encode()


async def load_handled(kafka: KafkaSettings, dead_letters_topic: str) -> dict[int, HandledOffsets]:
    """Return what was handled of each partition; none where nothing ever was.

    Raises:
        SourceError: The cluster cannot be read, or the topic holds something else.
    """
    topic = handled_topic_of(dead_letters_topic)
    handled: dict[int, HandledOffsets] = {}
    pages = read_topic(kafka, topic, from_beginning=True, follow=False)
    try:
        async with aclosing(pages):
            async for record in pages:
                if record is None:
                    continue
                try:
                    partition, page = map(int, (record.key or b"").decode().split("/"))
                    handled.setdefault(partition, HandledOffsets()).load(page, record.value)
                except (HandledPageError, ValueError) as error:
                    raise SourceError(
                        f"{topic}: offset {record.offset} is no page of handled dead letters "
                        f"({error}); nothing but `headrace dlq` may write to this topic"
                    ) from error
    except MissingTopicError:
        return {}
    return handled


async def ensure_handled_topic(kafka: KafkaSettings, dead_letters_topic: str) -> str:
    """Create the topic where it is missing, replicated like the dead letters; return its name."""
    topic = handled_topic_of(dead_letters_topic)
    await create_compacted_topic(kafka, topic, like=dead_letters_topic)
    return topic
