"""Whether the topic under a name is still the one that was read."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import errors

from consumer.kafka.source.topic_identity import TopicIdentity
from consumer.ports import SourceError
from tests.simulation import simulate

ONE, OTHER, NONE = bytes([1]) * 16, bytes([2]) * 16, bytes(16)
UNKNOWN_TOPIC = 3


class Brokers:
    """Answer one thing after the other, and the last for ever."""

    def __init__(self, *answers: tuple[int, bytes] | Exception) -> None:
        self._answers = list(answers)
        self.asked = 0
        self.refreshed = 0

    def force_metadata_update(self) -> None:
        self.refreshed += 1

    def get_random_node(self) -> int:
        return 1

    async def send(self, _broker: int, _request: Any) -> Any:
        self.asked += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        code, topic_id = answer
        return SimpleNamespace(topics=[(code, "t", topic_id, False, [], 0, {})])


def identity(brokers: Brokers) -> TopicIdentity:
    consumer: Any = SimpleNamespace(_client=brokers)
    return TopicIdentity(consumer, "t")


async def test_an_id_stays_through_brokers_that_do_not_answer_or_do_not_know_the_topic() -> None:
    brokers = Brokers(
        (0, ONE), errors.KafkaConnectionError("away"), TimeoutError(), (UNKNOWN_TOPIC, NONE)
    )
    topic = identity(brokers)

    for _ in range(4):
        await topic.look()

    assert (brokers.asked, brokers.refreshed) == (4, 1)
    assert len(topic.log_id) == 4


@pytest.mark.parametrize("old", [errors.IncompatibleBrokerVersion(), NotImplementedError()])
async def test_brokers_before_kafka_2_8_are_asked_once(old: Exception) -> None:
    brokers = Brokers(old)
    topic = identity(brokers)

    await topic.look()
    await topic.look()

    assert (brokers.asked, topic.log_id) == (1, b"")


def test_a_topic_that_was_created_again_is_noticed_while_it_is_read() -> None:
    seen: list[SourceError] = []
    topic = identity(Brokers((0, ONE), (0, ONE), (UNKNOWN_TOPIC, NONE), (0, OTHER)))

    async def read() -> None:
        await topic.look()
        await topic.watch(seen.append)

    simulate(read())

    (error,) = seen
    assert "topic t was deleted and created again while it was read" in str(error)
