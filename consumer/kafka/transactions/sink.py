"""Publishes outcomes and their offsets in one Kafka transaction: exactly-once."""

import asyncio
import logging
from collections.abc import Collection, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import errors

from consumer.engine.counters import Published
from consumer.kafka.admin.limits_reader import LimitsReader
from consumer.kafka.admin.topic_settings import TopicLimits
from consumer.kafka.client.cluster_client import ClusterClient, cluster_waits
from consumer.kafka.client.connection import (
    compression_code,
    explain,
    explaining_failures,
    warn_if_slow,
)
from consumer.kafka.replies.directory import ReplyDirectory
from consumer.kafka.replies.in_transactions import Replies
from consumer.kafka.sink.refusals import TOO_LARGE, explain_refusal
from consumer.kafka.sink.routing import MessageRouter
from consumer.kafka.transactions.batches import Explain, PartitionsStandError
from consumer.kafka.transactions.epochs import Epochs, Identity
from consumer.kafka.transactions.names import earlier_transactional_id_of, transactional_id_of
from consumer.kafka.transactions.open_transactions import OpenTransactions
from consumer.kafka.transactions.transactional_id import MessageRefusedError, TransactionalId
from consumer.ports import (
    FencedError,
    Message,
    OffsetAndMetadata,
    Rejection,
    SourceError,
    TopicPartition,
)
from schemas.settings.file import KafkaSettings, RouteSettings
from schemas.wire.reply_topics import is_allowed

log = logging.getLogger(__name__)

_STOP_TIMEOUT_S = 3.0


class _Connected(NamedTuple):
    client: ClusterClient
    open_transactions: OpenTransactions
    directory: ReplyDirectory


class KafkaTransactionalSink:
    """A ``TransactionalSink`` on Kafka topics.

    Messages go to the partitions that ``KafkaSink`` gives them. Transactions of several input
    partitions run at the same time. Each commit must differ from the one before it, as that shows
    the outcome of a commit without an answer. It counts in ``published``.
    """

    def __init__(
        self, settings: KafkaSettings, route: RouteSettings, published: Published | None = None
    ) -> None:
        self._published = published or Published()
        self._settings = settings
        self._route = route
        self._topics = (route.results_topic, route.dead_letters_topic)
        self._reply_patterns = set(route.reply_topics)
        self._doing = f"publishing to {', '.join(self._topics)} in transactions"
        self._router = MessageRouter()
        self._limits = LimitsReader(settings, self._topics, self._learn)
        self._connected: _Connected | None = None
        self._ids: dict[TopicPartition, TransactionalId] = {}
        self._left_open: dict[TopicPartition, TransactionalId] = {}
        self._publishing: dict[TopicPartition, asyncio.Task[None]] = {}

    async def start(self) -> None:
        warn_if_slow()
        await self._limits.read()
        client = ClusterClient(
            self._settings,
            client_id=f"headrace-{self._route.group}-transactions",
            request_timeout_ms=self._route.transactions.timeout_ms // 3,
        )
        directory = ReplyDirectory(client, self._router.forget)
        self._router.reply_limits = directory.limits
        open_transactions = OpenTransactions(
            client, self._topics, self._is_reply if self._reply_patterns else None
        )
        self._connected = _Connected(client, open_transactions, directory)
        try:
            with explaining_failures(self._settings, self._doing):
                await client.start(self._topics)
        except BaseException:
            await self.stop()
            raise

    async def take_over(self, partitions: Collection[TopicPartition]) -> None:
        """Fence the earlier owners; publications of released partitions end in ``FencedError``."""
        connected = self._started()
        let_go = {each: self._ids.pop(each) for each in self._ids.keys() - set(partitions)}
        for partition in let_go.keys() & self._publishing.keys():
            self._publishing[partition].cancel()
        if self._publishing:
            await asyncio.wait(self._publishing.values())
        await _all_of(*(each.abort() for each in let_go.values()))
        await _all_of(
            *(self._end_earlier(connected, each) for each in partitions if each not in self._ids)
        )
        ids = {each: self._ids.get(each) or self._make_id(connected, each) for each in partitions}
        try:
            await _all_of(*(each.take_over() for each in ids.values()))
        except BaseException:
            # Their open transactions are ended when the sink stops.
            self._left_open |= {each: made for each, made in ids.items() if made.has_begun}
            raise
        self._ids = ids
        for each in ids:
            # Whatever was open has been aborted with the epoch before.
            self._left_open.pop(each, None)

    async def publish(
        self, partition: TopicPartition, messages: Sequence[Message], point: OffsetAndMetadata
    ) -> list[Rejection]:
        """Publish and commit, or do neither; see ``TransactionalSink``.

        If ``FencedError`` is raised after the transaction was asked to commit, it may have been
        committed: the new owner has read its committed point then, and goes on from there.
        """
        connected = self._started()
        client, replies = connected.client, Replies(connected.client, connected.directory)
        transactional_id = self._ids.get(partition)
        if transactional_id is None:
            raise FencedError(f"{partition} was not taken over, or was let go")
        topics = {message.topic for message in messages}
        reply_topics = topics.difference(self._topics)
        partitions = await self._partitions_of(client, topics - reply_topics)
        if rejections := await replies.absent(reply_topics, messages):
            return rejections
        # Without waiting: one that goes from here on must not be waited for.
        partitions |= {each: sorted(replies.partitions(each)) for each in reply_topics}
        routed = self._router.route(messages, partitions, client.is_leaderless)
        if routed.rejections:
            self._note_refusals(routed.rejections)
            return routed.rejections
        if rejections := replies.leaderless(reply_topics, routed.messages):
            return rejections
        if self._ids.get(partition) is not transactional_id:
            raise FencedError(f"{partition} was let go")
        of_replies = {each for each in routed.messages if each.topic in reply_topics}
        task = asyncio.create_task(transactional_id.publish(routed.messages, point, of_replies))
        self._publishing[partition] = task
        try:
            await asyncio.wait([task])
            task.result()
        except MessageRefusedError as refused:
            message = routed.messages[refused.partition][refused.position]
            reason = explain_refusal(refused.code, message)
            rejections = [Rejection(message, reason, is_too_large=refused.code in TOO_LARGE)]
            self._note_refusals(rejections)
            return rejections
        except PartitionsStandError as standing:
            return await replies.standing(standing.codes, routed.messages)
        except FencedError:
            self._let_go(partition, transactional_id)
            raise
        except asyncio.CancelledError:
            # The next owner of the partition finds out its outcome.
            self._let_go(partition, transactional_id)
            self._left_open[partition] = transactional_id
            if task.cancelled() and self._connected is None:
                raise SourceError(f"{self._doing}: the sink was stopped") from None
            if task.cancelled():
                raise FencedError(f"{partition} was let go") from None
            task.cancel()
            raise
        finally:
            del self._publishing[partition]
        return []

    def _note_refusals(self, rejections: Sequence[Rejection]) -> None:
        topics = {rejection.message.topic for rejection in rejections}
        if topics.intersection(self._topics):
            self._limits.look_again()
        for topic in topics.difference(self._topics):
            self._started().directory.note_refusal(topic)

    async def find_missing(self, topics: Collection[str]) -> set[str]:
        directory = self._started().directory
        with explaining_failures(self._settings, "looking up reply topics"):
            return await directory.missing(topics)

    def _is_reply(self, topic: str) -> bool:
        if topic in self._topics:
            return False
        directory = self._started().directory
        return is_allowed(topic, self._reply_patterns) or topic in directory.topics

    def allow_replies(self, patterns: Collection[str]) -> None:
        # Those of before count too: something may be open in their topics.
        self._reply_patterns.update(patterns)
        if self._reply_patterns and self._connected is not None:
            self._connected.open_transactions.is_reply = self._is_reply

    def waits(self) -> list[str]:
        if self._connected is None or not self._publishing:
            return []
        cluster = self._connected.client.cluster
        places = (
            TopicPartition(topic, number)
            for topic in self._topics
            for number in cluster.partitions_for_topic(topic) or {0}
        )
        return cluster_waits(cluster, places)

    async def stop(self) -> None:
        connected, self._connected = self._connected, None
        if connected is None:
            return
        tasks = list(self._publishing.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        ids = {*self._ids.values(), *self._left_open.values()}
        self._ids = {}
        self._left_open = {}
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await _all_of(*(each.abort() for each in ids))
        except (TimeoutError, SourceError) as error:
            log.info(
                "%s: the brokers will abort what is open (%r)",
                self._doing,
                error,
                extra={"event": "transaction_left_open", "error_class": type(error).__name__},
            )
        await self._limits.stop()
        await connected.open_transactions.stop()
        await connected.client.close()

    def _learn(self, limits: Mapping[str, TopicLimits]) -> None:
        self._router.limits = limits

    def _let_go(self, partition: TopicPartition, transactional_id: TransactionalId) -> None:
        if self._ids.get(partition) is transactional_id:
            del self._ids[partition]

    def _make_id(self, connected: _Connected, partition: TopicPartition) -> TransactionalId:
        name = transactional_id_of(self._route.group, partition)
        return TransactionalId(
            connected.client,
            self._epochs(connected, name, partition),
            batch_bytes=self._router.batch_bytes,
            explain=self._explain_of(name),
            published=self._published,
            codec=compression_code(self._settings),
        )

    async def _end_earlier(self, connected: _Connected, partition: TopicPartition) -> None:
        """Fence an owner of an earlier release, which publishes under another id."""
        name = earlier_transactional_id_of(self._route.group, partition)
        await self._epochs(connected, name, partition).end_if_known()

    def _epochs(self, connected: _Connected, name: str, partition: TopicPartition) -> Epochs:
        route = self._route
        identity = Identity(name, route.group, partition, route.transactions.timeout_ms)
        return Epochs(
            connected.client, connected.open_transactions, identity, self._explain_of(name)
        )

    def _explain_of(self, name: str) -> Explain:
        return lambda error: explain(error, self._settings, f"{self._doing} ({name})")

    async def _partitions_of(
        self, client: ClusterClient, topics: Collection[str]
    ) -> dict[str, list[int]]:
        try:
            return {topic: await client.partitions(topic) for topic in topics}
        except errors.KafkaError as error:
            raise explain(error, self._settings, self._doing) from error

    def _started(self) -> _Connected:
        if self._connected is None:
            raise SourceError(f"{self._doing}: not started, or stopped already")
        return self._connected


async def _all_of(*coroutines: Coroutine[Any, Any, None]) -> None:
    results = await asyncio.gather(*coroutines, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
