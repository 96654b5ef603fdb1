"""Which topics a settings file's routes need, and what becomes of each."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from consumer.core.ports import SourceError
from consumer.kafka.connection import client_options, explaining_failures
from schemas.settings import Settings, TopicSettings

VISIBLE_POLLS = 300
VISIBLE_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class TopicOutcome:
    """What `topics create` found or did.

    Attributes:
        topic: The topic's name.
        state: ``created``; ``existed`` as wanted; ``differs``: it exists with another partition
            count, and is left as it is.
        partitions: The partitions that it has now.
        wanted_partitions: What the settings ask for.
    """

    topic: str
    state: Literal["created", "existed", "differs"]
    partitions: int
    wanted_partitions: int

    def __str__(self) -> str:
        """Return the outcome in a few words."""
        match self.state:
            case "created":
                return f"{self.topic}: created with {self.partitions} partitions"
            case "existed":
                return f"{self.topic}: exists with {self.partitions} partitions"
        return (
            f"{self.topic}: exists with {self.partitions} partitions where the settings say "
            f"{self.wanted_partitions}; left as it is, since adding partitions moves keys"
        )


def wanted_topics(settings: Settings) -> dict[str, TopicSettings]:
    """Return each topic of the routes; one that several routes share gets the most partitions."""
    wanted: dict[str, TopicSettings] = {}
    for route in settings.routes.values():
        for topic in (route.requests_topic, route.results_topic, route.dead_letters_topic):
            other = wanted.get(topic)
            if other is None or other.partitions < route.topics.partitions:
                wanted[topic] = route.topics
    return wanted


def topic_outcomes(
    wanted: Mapping[str, TopicSettings], before: Mapping[str, int], after: Mapping[str, int]
) -> list[TopicOutcome]:
    """Compare partition counts by topic before and after creating what was missing."""
    outcomes = []
    for topic, want in sorted(wanted.items()):
        partitions = after.get(topic, want.partitions)
        if topic not in before:
            state: Literal["created", "existed", "differs"] = "created"
        else:
            state = "existed" if partitions == want.partitions else "differs"
        outcomes.append(TopicOutcome(topic, state, partitions, want.partitions))
    return outcomes


def create_missing_topics(settings: Settings) -> list[TopicOutcome]:
    """Create the topics of the routes that do not exist; returns when all can be written to.

    Raises:
        SourceError: The cluster cannot be reached, or does not let us; says what to check.
    """
    return asyncio.run(_create_missing_topics(settings))


async def _create_missing_topics(settings: Settings) -> list[TopicOutcome]:
    wanted = wanted_topics(settings)
    with explaining_failures(settings.kafka, "creating topics"):
        admin = AIOKafkaAdminClient(**client_options(settings.kafka))
        try:
            await admin.start()
            before = await _partition_counts(admin, wanted)
            missing = [
                NewTopic(topic, want.partitions, want.replication_factor)
                for topic, want in wanted.items()
                if topic not in before
            ]
            if not missing:
                return topic_outcomes(wanted, before, before)
            response = await admin.create_topics(missing)
            for topic, code, *reason in response.topic_errors:
                error = for_code(code)
                # Another process may have created it a moment ago.
                if code and error is not TopicAlreadyExistsError:
                    raise error(f"{topic}: {reason[0] if reason and reason[0] else error.__name__}")
            for _ in range(VISIBLE_POLLS):
                after = await _partition_counts(admin, wanted)
                if len(after) == len(wanted):
                    return topic_outcomes(wanted, before, after)
                await asyncio.sleep(VISIBLE_POLL_S)
        finally:
            await admin.close()
    raise SourceError(
        "topics were created, but the brokers have no leaders for them yet; see that all brokers "
        "are up, then run it again"
    )


async def _partition_counts(admin: AIOKafkaAdminClient, topics: Collection[str]) -> dict[str, int]:
    """Return the partition count of each of ``topics`` that exists and has leaders."""
    counts = {}
    # Asked for by name, a missing topic would be created where the brokers do that by themselves.
    known = set(await admin.list_topics()) & set(topics)
    for described in await admin.describe_topics(sorted(known)) if known else []:
        partitions = described["partitions"]
        if described["error_code"] == 0 and all(one["leader"] >= 0 for one in partitions):
            counts[described["topic"]] = len(partitions)
    return counts
