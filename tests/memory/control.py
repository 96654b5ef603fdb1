"""Reading a control topic of the broker in memory."""

from consumer.ports import Record, SourceError, TopicPartition
from tests.memory.broker import MemoryBroker


class MemoryControlSource:
    """A ``ControlSource`` on a ``MemoryBroker``.

    Args:
        broker: Where the topic is.
        topic: The control topic.
    """

    def __init__(self, broker: MemoryBroker, topic: str) -> None:
        self._broker = broker
        self._topic = topic
        self._positions: dict[TopicPartition, int] | None = None
        self._ends: dict[TopicPartition, int] = {}

    async def start(self) -> None:
        """Connect; see ``ControlSource``."""
        if not self._broker.has_topic(self._topic):
            raise SourceError(f"topic {self._topic} does not exist: create it")
        await self._broker.reachable()
        partitions = self._broker.partitions(self._topic)
        self._ends = {each: self._broker.log(each).end_offset for each in partitions}
        self._positions = dict.fromkeys(partitions, 0)

    async def poll(self, timeout_s: float) -> list[Record]:
        """Return the next control records; see ``ControlSource``."""
        records = self._take()
        if not records:
            await self._broker.arrival(timeout_s)
            records = self._take()
        return records

    @property
    def is_caught_up(self) -> bool:
        """Whether all that stood there at the start has been read; see ``ControlSource``."""
        positions = self._positions or {}
        return all(positions.get(each, 0) >= end for each, end in self._ends.items())

    async def stop(self) -> None:
        """Disconnect; see ``ControlSource``."""
        self._positions = None

    def _take(self) -> list[Record]:
        if self._positions is None:
            raise SourceError("the control source is not started, or stopped already")
        if self._broker.is_away:
            return []
        records: list[Record] = []
        for partition, position in self._positions.items():
            log = self._broker.log(partition)
            records += log.read(position, log.end_offset - position)
            self._positions[partition] = log.end_offset
        return records
