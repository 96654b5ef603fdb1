"""Publishing through a ``ResultSink``, and waiting for the outcome."""

import asyncio
from collections.abc import Sequence

from consumer.ports import Message, Rejection, ResultSink, SourceError


class Awaited:
    """A ``PublishListener`` that counts.

    Attributes:
        done: Resolved when every message has ended.
        acknowledged_indexes: In the order of their acknowledgements.
    """

    def __init__(self, message_count: int) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.acknowledged_indexes: list[int] = []
        self.dropped_indexes: list[int] = []
        self.rejections: list[Rejection] = []
        self.unwanted: set[int] = set()
        self._open_count = message_count

    def is_wanted(self, index: int) -> bool:
        return index not in self.unwanted

    def acknowledged(self, index: int) -> None:
        self.acknowledged_indexes.append(index)
        self._end()

    def rejected(self, rejection: Rejection) -> None:
        self.rejections.append(rejection)
        self._end()

    def dropped(self, index: int) -> None:
        self.dropped_indexes.append(index)
        self._end()

    def failed(self, error: SourceError) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    def _end(self) -> None:
        self._open_count -= 1
        if not self._open_count:
            self.done.set_result(None)


class PublishingSink:
    """A ``ResultSink`` whose messages are awaited."""

    def __init__(self, sink: ResultSink) -> None:
        self.sink = sink

    async def start(self) -> None:
        await self.sink.start()

    async def publish(self, messages: Sequence[Message]) -> list[Rejection]:
        """Publish all, and return the rejections when each message has ended."""
        awaited = Awaited(len(messages))
        await self.sink.send(messages, awaited)
        if messages:
            await awaited.done
        return sorted(awaited.rejections, key=lambda rejection: rejection.index)

    def waits(self) -> list[str]:
        return self.sink.waits()

    async def stop(self) -> None:
        await self.sink.stop()
