"""Finds transactions that have ended for their coordinator and are open in a partition.

A coordinator ends a transaction with a marker in each partition that it touched. Kafka 4.3 skips
the marker of a leaderless partition ("Couldn't find leader endpoint for partitions ... likely
deleted already and hence can be skipped", its TransactionMarkerChannelManager logs), and counts the
transaction as ended. Partitions are leaderless whenever all their replicas restart together, and a
transaction that exceeds its timeout meanwhile is aborted just then. Its records stay open under its
producer id, so that the *next* end of that producer's transactions would end it too: aborted
results would appear, beside the ones computed again, or committed ones would vanish. So a new owner
of a transactional id asks the partitions themselves.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from aiokafka import errors

from consumer.kafka.client.cluster_client import ClusterClient
from consumer.kafka.client.producers import DescribeProducersRequest, read_open_producers
from consumer.kafka.sink.producer_slot import FIRST_BACKOFF_S, MAX_BACKOFF_S, REFUSALS
from consumer.kafka.transactions.errors import (
    NONE,
    TOPIC_AUTHORIZATION_FAILED,
    UNKNOWN_TOPIC_OR_PARTITION,
    NextStep,
    next_step,
)
from consumer.ports import TopicPartition

log = logging.getLogger(__name__)

_MISSING_S = 40.0
"""How long a topic may be unknown; a broker that has just started knows no topics."""

_REPLIES_S = 5.0
"""How long a reply topic's partition without a leader delays the others; see docs/exactly-once.md
for what that may cost."""

_LONG_S = 10.0
"""Longer than an election takes."""


class OpenTransactions:
    """Asks the leaders of topics which producers have a transaction open.

    Calls during a round of requests share the next round: all ids that a rebalance takes over cost
    two rounds together.
    """

    def __init__(
        self,
        client: ClusterClient,
        topics: Collection[str],
        is_reply: Callable[[str], bool] | None = None,
    ) -> None:
        self._client = client
        self._topics = topics
        self.is_reply = is_reply
        self._given_up: set[TopicPartition] = set()
        self._asking = asyncio.Lock()
        self._next: asyncio.Task[dict[int, list[TopicPartition]]] | None = None
        self._tasks: set[asyncio.Task[dict[int, list[TopicPartition]]]] = set()
        self._refused: set[str] = set()

    async def of(self, producer_id: int) -> Sequence[TopicPartition]:
        """Return the partitions in which a producer has a transaction open, as of this call.

        Waits for every partition's leader: an offline one may hold an open transaction. It waits
        some seconds only, and once, for those of reply topics, the ones that ``is_reply`` names.
        Brokers before Kafka 2.8 return none, and neither does a topic that this user may not read.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._ask_all())
            self._tasks.add(self._next)
            self._next.add_done_callback(self._tasks.discard)
        # Cancelling one caller must not cancel the others.
        found = await asyncio.shield(self._next)
        return found.get(producer_id, [])

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask_all(self) -> dict[int, list[TopicPartition]]:
        async with self._asking:
            # Later callers may have closed transactions that this round shows as open.
            self._next = None
            answers: dict[TopicPartition, list[int]] = {}
            backoff_s = FIRST_BACKOFF_S
            now_s = asyncio.get_running_loop().time
            begun_s = now_s()
            missing_since_s: float | None = None
            while True:
                try:
                    # Followers answer too, with what they have replicated so far.
                    await self._client.learn_leaders()
                    waiting = await self._partitions() - answers.keys()
                    answers.update(await self._ask(self._client.leaders(waiting)))
                    replies = await self._replies_left(answers)
                    if waiting <= answers.keys() and (
                        replies <= self._given_up or now_s() - begun_s >= _REPLIES_S
                    ):
                        self._give_up(replies)
                        return _by_producer(answers)
                    missing_since_s = None
                    left = (waiting - answers.keys()) | (replies - self._given_up)
                    failure = f"no answer from the leader of {_named(left)}"
                except errors.IncompatibleBrokerVersion:
                    log.debug("the broker cannot describe producers; Kafka can since 2.8")
                    return {}
                except REFUSALS:
                    raise
                except errors.UnknownTopicOrPartitionError as error:
                    missing_since_s = missing_since_s or now_s()
                    if now_s() - missing_since_s >= _MISSING_S:
                        raise
                    failure = repr(error)
                except errors.KafkaError as error:
                    failure = repr(error)
                log.log(
                    logging.INFO if now_s() - begun_s < _LONG_S else logging.WARNING,
                    "nothing is published before each partition of %s reports its open "
                    "transactions; asks again (%s)",
                    ", ".join(sorted(self._topics)),
                    failure,
                    extra={"event": "open_transactions_awaited", "topics": sorted(self._topics)},
                )
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)

    async def _partitions(self) -> set[TopicPartition]:
        return {
            TopicPartition(topic, number)
            for topic in self._topics
            for number in await self._client.partitions(topic)
        }

    async def _replies_left(self, answers: dict[TopicPartition, list[int]]) -> set[TopicPartition]:
        """Ask for reply topics' partitions too; return those without an answer."""
        if self.is_reply is None:
            return set()
        leaders = await self._client.list_leaders(self.is_reply)
        waiting: dict[int | None, list[TopicPartition]] = defaultdict(list)
        for partition in leaders.keys() - answers.keys():
            waiting[leaders[partition]].append(partition)
        answers.update(await self._ask(waiting))
        return leaders.keys() - answers.keys()

    def _give_up(self, replies: set[TopicPartition]) -> None:
        if new := replies - self._given_up:
            log.warning(
                "%s: no leader to ask for open transactions; what a restart of all its replicas "
                "left open there counts as aborted",
                _named(new),
                extra={"event": "open_transactions_unseen", "reason": "no_leader"},
            )
        self._given_up = replies

    async def _ask(
        self, partitions: Mapping[int | None, list[TopicPartition]]
    ) -> dict[TopicPartition, list[int]]:
        asking = []
        for leader, led in partitions.items():
            if leader is not None:
                asking.append(self._client.ask_broker(leader, DescribeProducersRequest(led)))
        answers: dict[TopicPartition, list[int]] = {}
        for response in await asyncio.gather(*asking, return_exceptions=True):
            if not isinstance(response, BaseException):
                answers.update(self._answered(response))
            elif not isinstance(response, errors.KafkaError) or isinstance(
                response, (errors.IncompatibleBrokerVersion, *REFUSALS)
            ):
                raise response
        return answers

    def _answered(self, response: Any) -> Iterator[tuple[TopicPartition, list[int]]]:
        for partition, code, producers in read_open_producers(response):
            if code == TOPIC_AUTHORIZATION_FAILED:
                self._warn_of(partition.topic)
            elif partition.topic not in self._topics and code == UNKNOWN_TOPIC_OR_PARTITION:
                pass  # a reply topic that was deleted since it was listed
            elif code == UNKNOWN_TOPIC_OR_PARTITION or (
                code != NONE and next_step(code) is NextStep.REFUSED
            ):
                raise errors.for_code(code)(f"{partition.topic}/{partition.partition}")
            elif code != NONE:
                continue
            yield partition, [each.producer_id for each in producers]

    def _warn_of(self, topic: str) -> None:
        if topic not in self._refused:
            self._refused.add(topic)
            log.warning(
                "topic %s: not ours to read, so a transaction that a broker's restart left open in "
                "it stays unseen, and its results may appear twice: grant Read on the topic",
                topic,
                extra={"event": "open_transactions_unseen", "reason": "denied", "topic": topic},
            )


def _by_producer(
    answers: Mapping[TopicPartition, Collection[int]],
) -> dict[int, list[TopicPartition]]:
    found: dict[int, list[TopicPartition]] = defaultdict(list)
    for partition, producer_ids in answers.items():
        for producer_id in producer_ids:
            found[producer_id].append(partition)
    return found


def _named(partitions: Collection[TopicPartition]) -> str:
    return ", ".join(f"{topic}/{number}" for topic, number in sorted(partitions))
