"""Who is on the way to a partition, while batches are refused and sent again."""

import asyncio
from collections.abc import Sequence
from typing import Any

from aiokafka import errors

from consumer.kafka.sink.partition_writer import PartitionWriter
from consumer.ports import Message, Rejection, SourceError
from tests.simulation import simulate


class Builder:
    def append(self, **_message: Any) -> bool:
        return True

    def size(self) -> int:
        return 100


class Producer:
    """Answers batches with one error after the other, and then not at all."""

    def __init__(self, *answers: errors.KafkaError) -> None:
        self._answers = list(answers)

    async def partitions_for(self, _topic: str) -> set[int]:
        return {0}

    def create_batch(self) -> Builder:
        return Builder()

    async def send_batch(self, *_: Any, **_options: Any) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._answers:
            future.set_exception(self._answers.pop(0))
        return future


class Slot:
    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    async def get(self) -> Producer:
        return self._producer

    def retire(self, _producer: Producer) -> None: ...


class Listener:
    def is_wanted(self, _message: Message) -> bool:
        return True

    def acknowledged(self, _messages: Sequence[Message]) -> None: ...

    def rejected(self, _rejection: Rejection) -> None: ...

    def dropped(self, _message: Message) -> None: ...

    def failed(self, _error: SourceError) -> None: ...


def test_the_other_half_of_a_refused_batch_is_on_its_way_while_one_is_sent_again() -> None:
    async def main() -> None:
        slot: Any = Slot(
            Producer(errors.MessageSizeTooLargeError(), errors.LeaderNotAvailableError())
        )
        writer = PartitionWriter(
            slot,
            "results",
            0,
            listener=Listener(),
            explain=lambda error: SourceError(str(error)),
            fail=lambda _: None,
            on_refused=lambda: None,
            move=lambda _: False,
        )
        writer.send([Message("results", b"k", b"v", [])] * 2)
        await asyncio.sleep(1)

        assert writer.is_stuck
        assert writer.records == 2

        task = writer.cancel()
        assert task is not None
        await asyncio.wait([task])

    simulate(main())
