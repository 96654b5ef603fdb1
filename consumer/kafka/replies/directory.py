"""Which reply topics there are, and what each takes."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Container, Iterable
from enum import Enum, auto

from aiokafka import errors
from aiokafka.admin.config_resource import ConfigResourceType
from aiokafka.protocol.admin import DescribeConfigsRequest

from consumer.kafka.admin.topic_settings import (
    DEFAULT_LIMITS,
    READ_SETTINGS,
    TopicLimits,
    limits_of,
)
from consumer.kafka.client.cluster_client import ClusterClient
from consumer.ports import Message, Rejection, TopicPartition

log = logging.getLogger(__name__)

MOST_TOPICS = 1024
"""What is remembered of topics that exist; the client asks for the metadata of these only."""
ABSENT_S = 2.0
"""How long publishing takes a topic for missing or forbidden without asking again."""
_LIMITS_S = 5.0
"""Between two readings of a topic's limits: messages may be refused one by one."""
_LEADERS_S = 0.5
"""Between two questions for the leaders of a topic that lacks one."""
_LAG_S = 0.2
"""A topic that one broker does not know is asked for once more after this time."""


class Verdict(Enum):
    FOUND = auto()
    MISSING = auto()
    DENIED = auto()
    """This user may not see it."""


class ReplyDirectory:
    """Looks topics up when they are first named, and forgets those that were not named for longest.

    Asks for topics by name, and creates none. ``on_forgotten`` is called with the name of each
    topic that is forgotten.
    """

    def __init__(self, client: ClusterClient, on_forgotten: Callable[[str], None]) -> None:
        self._client = client
        self._on_forgotten = on_forgotten
        self._found: OrderedDict[str, TopicLimits] = OrderedDict()
        self._absent: OrderedDict[str, tuple[Verdict, float]] = OrderedDict()
        self._read_at_s: dict[str, float] = {}
        self._asked_at_s = 0.0
        self._asking = asyncio.Lock()

    @property
    def limits(self) -> dict[str, TopicLimits]:
        return self._found

    @property
    def topics(self) -> Collection[str]:
        return self._found.keys()

    def knows(self, topic: str) -> bool:
        """Return whether a topic exists and its leaders are known, without asking."""
        if topic not in self._found or not self._has_leaders(topic):
            return False
        self._found.move_to_end(topic)
        return True

    async def find(
        self, topics: Iterable[str], *, even_if_absent: bool = False
    ) -> dict[str, Verdict]:
        """Return the verdict on each topic.

        ``even_if_absent`` asks again for topics that were missing a moment ago. Raises
        ``KafkaError`` if no broker answers.
        """
        wanted = dict.fromkeys(topics)
        async with self._asking:
            unknown = [each for each in wanted if self._must_ask(each, even_if_absent)]
            while unknown:
                await self._ask(unknown)
                # Publishing may have forgotten others meanwhile.
                unknown = [each for each in wanted if not self._has_verdict(each)]
            verdicts = {
                each: Verdict.FOUND if each in self._found else self._absent[each][0]
                for each in wanted
            }
            self._forget_oldest(wanted)
        return verdicts

    async def missing(self, topics: Iterable[str]) -> set[str]:
        """Return which topics do not exist, also by asking again; raises as ``find`` does."""
        verdicts = await self.find(topics, even_if_absent=True)
        return {topic for topic, verdict in verdicts.items() if verdict is Verdict.MISSING}

    def note_refusal(self, topic: str) -> None:
        """Read a topic's limits again with its next message: they may have changed."""
        if _now_s() - self._read_at_s.get(topic, 0.0) >= _LIMITS_S:
            self.forget(topic)

    def note_denied(self, topic: str) -> None:
        self.forget(topic)
        self._note_absent(topic, Verdict.DENIED)

    def forget(self, topic: str) -> None:
        self._found.pop(topic, None)
        self._read_at_s.pop(topic, None)
        self._client.forget_topics([topic])
        self._on_forgotten(topic)

    def _must_ask(self, topic: str, even_if_absent: bool) -> bool:
        now_s = _now_s()
        if topic in self._found:
            self._found.move_to_end(topic)
            return not self._has_leaders(topic) and now_s - self._asked_at_s >= _LEADERS_S
        verdict, until_s = self._absent.get(topic, (None, 0.0))
        return verdict is None or even_if_absent or until_s <= now_s

    def _has_verdict(self, topic: str) -> bool:
        return topic in self._found or topic in self._absent

    def _has_leaders(self, topic: str) -> bool:
        partitions = self._client.cluster.partitions_for_topic(topic)
        return bool(partitions) and not any(
            self._client.is_leaderless(TopicPartition(topic, each)) for each in partitions
        )

    async def _ask(self, topics: list[str]) -> None:
        try:
            await self._find(topics)
            found = [each for each in topics if self._client.cluster.partitions_for_topic(each)]
            new = [each for each in found if each not in self._found]
            limits = await self._read_limits(new) if new else {}
        except BaseException:
            # Otherwise the client would ask for them ever after.
            self._client.forget_topics([each for each in topics if each not in self._found])
            raise
        for topic in new:
            self._absent.pop(topic, None)
            self._found[topic] = limits.get(topic, DEFAULT_LIMITS)
            self._read_at_s[topic] = _now_s()
        for topic in set(topics).difference(found):
            is_denied = topic in self._client.cluster.unauthorized_topics
            self.forget(topic)
            self._note_absent(topic, Verdict.DENIED if is_denied else Verdict.MISSING)

    async def _find(self, topics: list[str]) -> None:
        await self._client.find_topics(topics)
        if any(map(self._seems_missing, topics)):
            # A broker may not know a topic yet that was made a moment ago.
            await asyncio.sleep(_LAG_S)
            await self._client.find_topics(topics)
        self._asked_at_s = _now_s()

    def _seems_missing(self, topic: str) -> bool:
        cluster = self._client.cluster
        return not cluster.partitions_for_topic(topic) and topic not in cluster.unauthorized_topics

    async def _read_limits(self, topics: list[str]) -> dict[str, TopicLimits]:
        kind = ConfigResourceType.TOPIC.value
        request = DescribeConfigsRequest([(kind, each, list(READ_SETTINGS)) for each in topics])
        try:
            response = await self._client.ask_any(request)
        except errors.KafkaError as error:
            log.info(
                "no settings of reply topics (%r); taking Kafka's defaults",
                error,
                extra={"event": "topic_settings_unknown", "error_class": type(error).__name__},
            )
            return {}
        return {
            topic: limits_of({name: value for name, value, *_ in entries if value is not None})
            for code, _message, _kind, topic, entries in response.resources
            if not code
        }

    def _note_absent(self, topic: str, verdict: Verdict) -> None:
        self._absent[topic] = verdict, _now_s() + ABSENT_S
        self._absent.move_to_end(topic)

    def _forget_oldest(self, wanted: Container[str]) -> None:
        """Forget what is too much, of what nobody waits for now."""
        for topic in _oldest_beyond(self._found, wanted):
            self.forget(topic)
        for topic in _oldest_beyond(self._absent, wanted):
            del self._absent[topic]


def _oldest_beyond(remembered: Collection[str], wanted: Container[str]) -> list[str]:
    excess = len(remembered) - MOST_TOPICS
    return [each for each in remembered if each not in wanted][:excess] if excess > 0 else []


def reject_absent(message: Message, verdict: Verdict) -> Rejection:
    topic = message.topic
    if verdict is Verdict.MISSING:
        return Rejection(message, f"topic {topic} does not exist: create it", is_missing=True)
    return Rejection(
        message,
        f"topic {topic}: this user may not write there: grant it Write and Describe on the topic, "
        "or on the prefix that reply_topics names",
    )


def _now_s() -> float:
    return asyncio.get_running_loop().time()
