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
    def __init__(self, producer: Producer, max_batch_bytes: int = 512 * 1024) -> None:
        self.max_batch_bytes = max_batch_bytes
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


class Acknowledging(Producer):
    """Acknowledges each batch at once, and notes when it came."""

    def __init__(self) -> None:
        super().__init__()
        self.sent_at_s: list[float] = []

    async def send_batch(self, *_: Any, **_options: Any) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        self.sent_at_s.append(loop.time())
        future: asyncio.Future[None] = loop.create_future()
        future.set_result(None)
        return future


def test_what_is_published_gathers_for_the_linger_or_until_it_is_enough() -> None:
    async def main() -> None:
        producer = Acknowledging()
        slot: Any = Slot(producer)
        writer = PartitionWriter(
            slot, "results", 0, listener=Listener(), explain=lambda error: SourceError(str(error)),
            fail=lambda _: None, on_refused=lambda: None, move=lambda _: False, linger_s=0.5,
        )  # fmt: skip
        begun_s = asyncio.get_running_loop().time()
        for _ in range(4):
            writer.send([Message("results", b"k", b"v", [])])
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.2)
        assert [round(each - begun_s, 3) for each in producer.sent_at_s] == [0.5]

        large = Message("results", b"k", bytes(200 * 1024), [])
        begun_s = asyncio.get_running_loop().time()
        writer.send([large])
        await asyncio.sleep(0.1)
        writer.send([large])
        await asyncio.sleep(0.1)
        assert [round(each - begun_s, 3) for each in producer.sent_at_s[1:]] == [0.1]
        assert writer.records == 0

    simulate(main())


class FullAt(Builder):
    """Takes so many messages."""

    def __init__(self, most: int) -> None:
        self._left = most

    def append(self, **_message: Any) -> bool:
        self._left -= 1
        return self._left >= 0


class Filling(Acknowledging):
    def create_batch(self) -> FullAt:
        return FullAt(4)


def lingering(producer: Acknowledging, max_batch_bytes: int = 512 * 1024) -> PartitionWriter:
    slot: Any = Slot(producer, max_batch_bytes)
    return PartitionWriter(
        slot, "results", 0, listener=Listener(), explain=lambda error: SourceError(str(error)),
        fail=lambda _: None, on_refused=lambda: None, move=lambda _: False, linger_s=1.0,
    )  # fmt: skip


def test_what_did_not_fit_into_a_batch_does_not_linger_again_if_it_is_enough() -> None:
    async def main() -> None:
        producer = Filling()
        writer = lingering(producer)
        begun_s = asyncio.get_running_loop().time()
        writer.send([Message("results", b"k", bytes(128 * 1024), [])] * 64)
        await asyncio.sleep(0.1)

        assert [round(each - begun_s, 3) for each in producer.sent_at_s] == [0.0] * 16
        assert writer.records == 0

        small = lingering(producer, max_batch_bytes=16 * 1024)
        small.send([Message("results", b"k", bytes(8 * 1024), [])] * 2)
        await asyncio.sleep(0.1)
        assert small.records == 0

    simulate(main())


def test_a_flush_ends_the_linger_of_what_was_sent_and_of_no_more() -> None:
    async def main() -> None:
        producer = Acknowledging()
        writer = lingering(producer)
        begun_s = asyncio.get_running_loop().time()
        writer.flush()
        writer.send([Message("results", b"k", b"v", [])])
        await asyncio.sleep(0.2)
        writer.flush()
        await asyncio.sleep(0)
        writer.send([Message("results", b"k", b"v", [])])
        await asyncio.sleep(3)

        assert [round(each - begun_s, 3) for each in producer.sent_at_s] == [0.2, 1.2]

    simulate(main())
