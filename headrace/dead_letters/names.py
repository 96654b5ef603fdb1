"""The Kafka names for handling a route's dead letters. Pure."""

from headrace.errors import UserError

SUFFIX = "-handled"
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
