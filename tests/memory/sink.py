"""Publishing into the broker in memory."""

from collections.abc import Sequence

from consumer.engine.standing.waits import no_broker
from consumer.ports import Message, PublishListener, SourceError
from tests.memory.broker import MemoryBroker


class MemorySink:
    """A ``ResultSink`` on a ``MemoryBroker``.

    Args:
        broker: Where the topics are.
    """

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._is_started = False

    async def start(self) -> None:
        """Connect; see ``ResultSink``."""
        self._is_started = True

    async def send(self, messages: Sequence[Message], listener: PublishListener) -> None:
        """Take messages over; see ``ResultSink``. Waits while the broker is away."""
        if not self._is_started:
            raise SourceError("the sink is not started, or stopped already")
        for message in messages:
            if not self._broker.has_topic(message.topic):
                raise SourceError(f"topic {message.topic} does not exist: create it")
        await self._broker.reachable()
        rejections = {each.index: each for each in self._broker.rejections(messages)}
        accepted = []
        for index in range(len(messages)):
            if index in rejections:
                listener.rejected(rejections[index])
            elif listener.is_wanted(index):
                accepted.append(index)
            else:
                listener.dropped(index)
        self._broker.append([messages[index] for index in accepted])
        for index in accepted:
            listener.acknowledged(index)

    def waits(self) -> list[str]:
        """Return whether the broker is away; see ``ResultSink``."""
        return [no_broker("publishing")] if self._broker.is_away else []

    async def stop(self) -> None:
        """Disconnect; see ``ResultSink``."""
        self._is_started = False
