"""How long a topic may be unknown to the coordinators before that is an error."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import errors

from consumer.kafka.transactions.coordinated_requests import CoordinatedRequests, single_code
from consumer.ports import SourceError
from tests.simulation import simulate

NONE, UNKNOWN_TOPIC, NOT_COORDINATOR = 0, 3, 16


class Coordinator:
    """Answers with one code, or failure, after the other."""

    def __init__(self, answers: list[int | errors.KafkaError]) -> None:
        self.answers = answers

    async def ask_group(self, _group: str, _request: Any) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, errors.KafkaError):
            raise answer
        return SimpleNamespace(error_code=answer)

    def forget_coordinators(self, *_keys: str) -> None: ...


def ask(answers: list[int | errors.KafkaError]) -> None:
    coordinator: Any = Coordinator(answers)
    request: Any = object()

    async def main() -> None:
        requests = CoordinatedRequests(
            coordinator, "id", "g", lambda error: SourceError(repr(error))
        )
        await requests.ask_group(request, single_code)

    simulate(main())


def test_a_topic_that_stays_unknown_is_an_error() -> None:
    with pytest.raises(SourceError, match="UnknownTopicOrPartitionError"):
        ask([UNKNOWN_TOPIC] * 12)


@pytest.mark.parametrize("between", [NOT_COORDINATOR, errors.NodeNotReadyError()])
def test_one_that_is_unknown_now_and_then_is_not(between: int | errors.KafkaError) -> None:
    answers: list[int | errors.KafkaError] = [*[UNKNOWN_TOPIC] * 11, between, UNKNOWN_TOPIC, NONE]
    ask(answers)
    assert not answers
