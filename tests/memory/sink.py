"""Publishing into the broker in memory."""

from collections.abc import Collection, Sequence

from consumer.engine.waiting.waits import no_broker
from consumer.ports import Message, PublishListener, SourceError
from tests.memory.broker import MemoryBroker


class MemorySink:
    """A ``ResultSink`` on a ``MemoryBroker``.

    Args:
        broker: Where the topics are.
        topics: Its own, which must exist; the others are reply topics. All are its own by default.
    """

    def __init__(self, broker: MemoryBroker, topics: Collection[str] | None = None) -> None:
        self._broker = broker
        self._own_topics = topics
        self._listener: PublishListener | None = None

    async def start(self, listener: PublishListener) -> None:
        """Connect; see ``ResultSink``."""
        self._listener = listener

    async def send(self, messages: Sequence[Message]) -> None:
        """Take messages over; see ``ResultSink``. Waits while the broker is away."""
        listener = self._started()
        self._broker.check_own(messages, self._own_topics)
        await self._broker.reachable()
        rejections = self._broker.rejections(messages, self._own_topics)
        refused = {id(each.message) for each in rejections}
        accepted = []
        for message in messages:
            if id(message) in refused:
                continue
            if listener.is_wanted(message):
                accepted.append(message)
            else:
                listener.dropped(message)
        self._broker.append(accepted)
        for rejection in rejections:
            listener.rejected(rejection)
        listener.acknowledged(accepted)

    def _started(self) -> PublishListener:
        if self._listener is None:
            raise SourceError("the sink is not started, or stopped already")
        return self._listener

    def flush(self) -> None:
        """Do nothing: nothing gathers; see ``ResultSink``."""

    async def find_missing(self, topics: Collection[str]) -> set[str]:
        """Return the topics that do not exist; see ``ResultSink``."""
        self._started()
        await self._broker.reachable()
        return {topic for topic in topics if not self._broker.has_topic(topic)}

    def waits(self) -> list[str]:
        """Return whether the broker is away; see ``ResultSink``."""
        return [no_broker("publishing")] if self._broker.is_away else []

    async def stop(self) -> None:
        """Disconnect; see ``ResultSink``."""
        self._listener = None
