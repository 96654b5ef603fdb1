"""A topic's settings, and which messages it takes by them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from consumer.kafka.sink.message_size import DEFAULT_LIMIT_BYTES

MAX_MESSAGE_BYTES = "max.message.bytes"
CLEANUP_POLICY = "cleanup.policy"
TIMESTAMP_BEFORE_MAX_MS = "message.timestamp.before.max.ms"
TIMESTAMP_AFTER_MAX_MS = "message.timestamp.after.max.ms"
TIMESTAMP_TYPE = "message.timestamp.type"

READ_SETTINGS = (
    MAX_MESSAGE_BYTES,
    CLEANUP_POLICY,
    TIMESTAMP_BEFORE_MAX_MS,
    TIMESTAMP_AFTER_MAX_MS,
    TIMESTAMP_TYPE,
)

LEAST_TIMESTAMP_MS = 60_000
"""A batch is stamped when it is made, may wait for its partition's leader, and clocks differ."""


class TopicLimits(NamedTuple):
    """What a topic takes.

    Attributes:
        max_message_bytes: The most bytes of one batch.
        needs_keys: A message without a key is refused.
    """

    max_message_bytes: int = DEFAULT_LIMIT_BYTES
    needs_keys: bool = False


DEFAULT_LIMITS = TopicLimits()
"""Kafka's own, for a topic whose settings are not known."""


def limits_of(settings: Mapping[str, str]) -> TopicLimits:
    return TopicLimits(
        int(settings.get(MAX_MESSAGE_BYTES, DEFAULT_LIMIT_BYTES)),
        needs_keys=_is_compacted(settings),
    )


@dataclass(frozen=True, slots=True)
class Published:
    """A kind of message that is published to a topic.

    Attributes:
        what: Its name in the plural, e.g. "results".
        largest_bytes: The most bytes of one value.
        limit: The setting that allows them.
    """

    what: str
    largest_bytes: int
    limit: str


def unfit_settings(topic: str, settings: Mapping[str, str], published: Published) -> list[str]:
    """Return which of a topic's settings refuse what is published there, and what to do.

    Args:
        topic: Its name.
        settings: Its settings by name; a missing one counts as fitting.
        published: What Headrace publishes to it.
    """
    what = published.what
    problems = []
    if _is_compacted(settings):
        problems.append(
            f"topic {topic}: {CLEANUP_POLICY}={settings[CLEANUP_POLICY]} refuses {what} without a "
            "key, and of those with one it keeps the last of each key only: set "
            f"{CLEANUP_POLICY}=delete"
        )
    limit_bytes = settings.get(MAX_MESSAGE_BYTES)
    if limit_bytes is not None and int(limit_bytes) < published.largest_bytes:
        problems.append(
            f"topic {topic}: {MAX_MESSAGE_BYTES}={limit_bytes} is less than the "
            f"{published.largest_bytes} bytes that {published.limit} allows {what}: raise the one "
            "or lower the other"
        )
    if settings.get(TIMESTAMP_TYPE) != "LogAppendTime":
        problems += [
            f"topic {topic}: {name}={settings[name]} refuses {what} that wait for a leader, or "
            f"where clocks differ: raise it to {LEAST_TIMESTAMP_MS} or more"
            for name in (TIMESTAMP_BEFORE_MAX_MS, TIMESTAMP_AFTER_MAX_MS)
            if int(settings.get(name, LEAST_TIMESTAMP_MS)) < LEAST_TIMESTAMP_MS
        ]
    return problems


def explain_denied(topic: str) -> str:
    return (
        f"topic {topic}: this user may not read its settings, so that Kafka's defaults are taken "
        "for them: allow it DescribeConfigs on the topic"
    )


def _is_compacted(settings: Mapping[str, str]) -> bool:
    policies = settings.get(CLEANUP_POLICY, "").split(",")
    return "compact" in (policy.strip() for policy in policies)
