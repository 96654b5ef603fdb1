"""Publishing through a ``ResultSink``, and waiting for the outcome."""

import asyncio
from collections.abc import Sequence

from consumer.ports import Message, Rejection, ResultSink, SourceError


class Awaited:
    """Messages that are published together: each carries it as its ``item``.

    Attributes:
        messages: The messages.
        done: Resolved when every message has ended.
        acknowledged_indexes: In the order of their acknowledgements.
    """

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = [message._replace(item=self) for message in messages]
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.acknowledged_indexes: list[int] = []
        self.dropped_indexes: list[int] = []
        self.rejections: list[Rejection] = []
        self.unwanted: set[int] = set()
        self._open_count = len(messages)

    def index(self, message: Message) -> int:
        return next(n for n, each in enumerate(self.messages) if each is message)

    def end(self) -> None:
        self._open_count -= 1
        if not self._open_count and not self.done.done():
            self.done.set_result(None)


class AwaitedListener:
    """A ``PublishListener`` for ``Awaited`` messages."""

    def __init__(self) -> None:
        self._open: list[Awaited] = []

    def add(self, awaited: Awaited) -> None:
        self._open.append(awaited)

    def is_wanted(self, message: Message) -> bool:
        awaited: Awaited = message.item
        return awaited.index(message) not in awaited.unwanted

    def acknowledged(self, messages: Sequence[Message]) -> None:
        for message in messages:
            awaited: Awaited = message.item
            awaited.acknowledged_indexes.append(awaited.index(message))
            awaited.end()

    def rejected(self, rejection: Rejection) -> None:
        awaited: Awaited = rejection.message.item
        awaited.rejections.append(rejection)
        awaited.end()

    def dropped(self, message: Message) -> None:
        awaited: Awaited = message.item
        awaited.dropped_indexes.append(awaited.index(message))
        awaited.end()

    def failed(self, error: SourceError) -> None:
        for awaited in self._open:
            if not awaited.done.done():
                awaited.done.set_exception(error)


class PublishingSink:
    """A ``ResultSink`` whose messages are awaited."""

    def __init__(self, sink: ResultSink) -> None:
        self.sink = sink
        self._listener = AwaitedListener()

    async def start(self) -> None:
        await self.sink.start(self._listener)

    async def publish(self, messages: Sequence[Message]) -> list[Rejection]:
        """Publish all, and return the rejections when each message has ended."""
        awaited = Awaited(messages)
        self._listener.add(awaited)
        await self.sink.send(awaited.messages)
        if messages:
            await awaited.done
        return sorted(awaited.rejections, key=lambda each: awaited.index(each.message))

    def waits(self) -> list[str]:
        return self.sink.waits()

    async def stop(self) -> None:
        await self.sink.stop()


def positions(rejections: Sequence[Rejection], messages: Sequence[Message]) -> list[int]:
    """Where refused messages stand among those that were published; each has another content."""
    contents = [message[:4] for message in messages]
    return [contents.index(rejection.message[:4]) for rejection in rejections]
