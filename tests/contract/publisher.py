"""Publishing in both deliveries."""

import asyncio
from collections.abc import Sequence

from consumer.ports import Message, OffsetAndMetadata, Rejection, TopicPartition
from tests.contract.worlds import PATIENCE_S, World
from tests.publishing import PublishingSink


async def make_publisher(world: World, delivery: str) -> "Publisher":
    """Return one with topics of its own, which is not started yet."""
    requests = await world.topic()
    await world.results_topics(requests, partitions=1)
    return Publisher(world, requests, in_transactions=delivery == "exactly_once")


class Publisher:
    """A sink of either kind, for one input partition; ``own`` is its topic of results."""

    def __init__(self, world: World, requests: str, *, in_transactions: bool) -> None:
        self.world = world
        self.requests = TopicPartition(requests, 0)
        self.own = f"{requests}-results"
        self._in_transactions = in_transactions
        self._published = 0
        self._plain: PublishingSink | None = None

    async def start(self) -> None:
        if self._in_transactions:
            self._transactional = await self.world.transactional_sink(self.requests.topic)
            await self._transactional.take_over([self.requests])
        else:
            self._plain = await self.world.sink(self.own)

    async def publish(self, messages: Sequence[Message]) -> list[Rejection]:
        """Publish, and leave out what is refused, as the engine does; return all refusals."""
        refused: list[Rejection] = []
        async with asyncio.timeout(PATIENCE_S):
            if self._plain is not None:
                return await self._plain.publish(messages)
            while True:
                gone = [each.message[:4] for each in refused]
                left = [each for each in messages if each[:4] not in gone]
                self._published += 1
                point = OffsetAndMetadata(self._published, "")
                rejections = await self._transactional.publish(self.requests, left, point)
                if not rejections:
                    return refused
                refused += rejections

    async def find_missing(self, *topics: str) -> set[str]:
        sink = self._plain.sink if self._plain is not None else self._transactional
        return await sink.find_missing(topics)

    async def until_taken(self, message: Message) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while await self.publish([message]):
                await asyncio.sleep(0.2)

    async def until_missing(self, message: Message) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not any(each.is_missing for each in await self.publish([message])):
                await asyncio.sleep(0.1)
