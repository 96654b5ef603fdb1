"""Finds transactions that are over for their coordinator and still open in a partition.

A coordinator ends a transaction with a marker in each partition that it touched. Kafka 4.3 skips
the marker of a partition that has no leader at that moment ("Couldn't find leader endpoint for
partitions ... likely deleted already and hence can be skipped", its TransactionMarkerChannelManager
says), and counts the transaction as ended all the same. Partitions are without a leader whenever
all their replicas restart together, and a transaction that passed its timeout meanwhile is aborted
right then. What it wrote is left open under its producer id, so that the *next* end of that
producer's transactions would be its end too: aborted results would appear, beside the ones computed
again, or committed ones would go. Whoever takes a transactional id over therefore asks the
partitions themselves.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from aiokafka import errors

from consumer.core.ports import TopicPartition
from consumer.kafka.cluster_client import ClusterClient, numbers_by_topic
from consumer.kafka.producer_slot import FIRST_BACKOFF_S, MAX_BACKOFF_S
from consumer.kafka.transaction_errors import NONE, TOPIC_AUTHORIZATION_FAILED
from consumer.kafka.transaction_wire import DescribeProducersRequest

log = logging.getLogger(__name__)

_UNKNOWN_TOPIC_PATIENCE = 4
"""How often in a row a topic may be unknown; the client itself looks for it for seconds."""


class OpenTransactions:
    """Asks the leaders of topics which producers have a transaction open.

    Callers that come while an answer is awaited share the next one: as many ids as are taken over
    in a rebalance cost two rounds of requests.

    Args:
        client: The cluster.
        topics: Where transactions write.
    """

    def __init__(self, client: ClusterClient, topics: Collection[str]) -> None:
        self._client = client
        self._topics = topics
        self._asking = asyncio.Lock()
        self._next: asyncio.Task[dict[int, list[TopicPartition]]] | None = None
        self._tasks: set[asyncio.Task[dict[int, list[TopicPartition]]]] = set()
        self._refused: set[str] = set()

    async def of(self, producer_id: int) -> Sequence[TopicPartition]:
        """Return the partitions in which a producer has a transaction open, as of this call.

        None are returned of a topic that we may not read, nor by a broker before Kafka 2.8.

        Raises:
            errors.UnknownTopicOrPartitionError: A topic is missing, and stays so.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._ask_all())
            self._tasks.add(self._next)
            self._next.add_done_callback(self._tasks.discard)
        # One caller's cancellation is not the others'.
        found = await asyncio.shield(self._next)
        return found.get(producer_id, [])

    async def stop(self) -> None:
        """Give up what is being asked; who waits for it is cancelled."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask_all(self) -> dict[int, list[TopicPartition]]:
        async with self._asking:
            # Who calls from here on may have closed what this answer shows as open.
            self._next = None
            found: dict[int, list[TopicPartition]] = defaultdict(list)
            remaining: set[TopicPartition] | None = None
            backoff_s = FIRST_BACKOFF_S
            unknown_topics = 0
            while True:
                try:
                    if remaining is None:
                        remaining = await self._partitions()
                    for partition, producer_ids in await self._ask(remaining):
                        remaining.discard(partition)
                        for producer_id in producer_ids:
                            found[producer_id].append(partition)
                    if not remaining:
                        return found
                    log.info("open transactions: asks again about %s", sorted(remaining))
                    await self._client.learn_leaders()
                except errors.IncompatibleBrokerVersion:
                    log.debug("the broker cannot describe producers; Kafka can since 2.8")
                    return found
                except errors.UnknownTopicOrPartitionError:
                    unknown_topics += 1
                    if unknown_topics == _UNKNOWN_TOPIC_PATIENCE:
                        raise
                except errors.KafkaError as error:
                    log.info("open transactions: asks again after %r", error)
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)

    async def _partitions(self) -> set[TopicPartition]:
        return {
            TopicPartition(topic, number)
            for topic in self._topics
            for number in await self._client.partitions(topic)
        }

    async def _ask(self, partitions: set[TopicPartition]) -> list[tuple[TopicPartition, list[int]]]:
        """Ask the leaders that are known, and return the partitions that were answered for."""
        asking = []
        for leader, led in self._client.leaders(partitions).items():
            if leader is not None:
                request = DescribeProducersRequest(numbers_by_topic(led))
                asking.append(self._client.ask_broker(leader, request))
        answered = []
        for response in await asyncio.gather(*asking, return_exceptions=True):
            if not isinstance(response, BaseException):
                answered += self._answered(response)
            elif not isinstance(response, errors.KafkaError) or isinstance(
                response, errors.IncompatibleBrokerVersion
            ):
                raise response
        return answered

    def _answered(self, response: Any) -> list[tuple[TopicPartition, list[int]]]:
        answered = []
        for topic, results, *_tags in response.topics:
            for number, code, _message, producers, *_more in results:
                if code == TOPIC_AUTHORIZATION_FAILED:
                    self._warn_of(topic)
                elif code != NONE:
                    continue
                open_by = [producer_id for producer_id, *_, since, _tags in producers if since >= 0]
                answered.append((TopicPartition(topic, number), open_by))
        return answered

    def _warn_of(self, topic: str) -> None:
        if topic not in self._refused:
            self._refused.add(topic)
            log.warning(
                "topic %s: not ours to read, so a transaction that a broker's restart left open in "
                "it stays unseen, and its results may appear twice: grant Read on the topic",
                topic,
            )
