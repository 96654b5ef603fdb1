"""Replays dead letters and remembers them in one Kafka transaction.

The transactional id is the dead-letter topic's: a second command on the topic fences the first, and
before it reads, it aborts a transaction that a killed one left open.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Self

from aiokafka import AIOKafkaProducer, errors

from consumer.kafka.client.connection import client_options, explain, explaining_failures
from consumer.kafka.sink.message_size import LARGEST_REQUEST_BYTES
from consumer.ports import SourceError
from headrace.dead_letters.handled import HandledOffsets
from headrace.dead_letters.handled_topic import ensure_handled_topic, page_key, transactional_id
from headrace.dead_letters.replay import Outgoing
from headrace.errors import UserError
from schemas.settings.file import KafkaSettings

log = logging.getLogger(__name__)

TRANSACTION_TIMEOUT_MS = 60_000
CLOSE_TIMEOUT_S = 10.0
MAX_BATCH_BYTES = 256 * 1024


class HandlingTransactions:
    """Handles dead letters of one topic; an async context manager.

    Once entered, no other command's transaction on this topic is open or undecided. With a cluster
    ``requests``, replayed requests go there, and are acknowledged before the rest is committed.

    Raises:
        SourceError: The cluster refuses; the message says what to check.
        UserError: Another command took over.
    """

    def __init__(
        self, kafka: KafkaSettings, dead_letters_topic: str, requests: KafkaSettings | None = None
    ) -> None:
        self._kafka = kafka
        self._requests = requests
        self._replayer: AIOKafkaProducer | None = None
        self._topic = dead_letters_topic
        self._doing = f"handling dead letters of {dead_letters_topic}"
        self._handled_topic = ""
        self._producer = self._make_producer()

    async def __aenter__(self) -> Self:
        self._handled_topic = await ensure_handled_topic(self._kafka, self._topic)
        await self._connect()
        try:
            if self._requests is not None:
                await self._connect_replayer(self._requests)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_exc_info: object) -> None:
        await self._close()
        if self._replayer is not None:
            await self._replayer.stop()
        if kind is None:
            # A commit returns before its markers are written everywhere: a reader could miss it.
            # The next producer id is given out once they are.
            self._producer = self._make_producer()
            await self._connect()
            await self._close()

    async def commit(
        self,
        replayed: Sequence[Outgoing],
        handled: Mapping[int, HandledOffsets],
        committed: Callable[[], None],
    ) -> None:
        """Publish ``replayed`` and what changed of ``handled``: all of it or nothing.

        An interruption waits until it is decided. After a failure do not use ``handled`` again.
        """
        transaction = asyncio.ensure_future(self._commit(replayed, handled, committed))
        try:
            await asyncio.shield(transaction)
        except asyncio.CancelledError:
            await asyncio.wait([transaction], timeout=TRANSACTION_TIMEOUT_MS / 1000)
            raise

    async def _commit(
        self,
        replayed: Sequence[Outgoing],
        handled: Mapping[int, HandledOffsets],
        committed: Callable[[], None],
    ) -> None:
        producer = self._producer
        acknowledgements: list[asyncio.Future[object]] = []
        try:
            try:
                await _send_all(self._replayer or producer, replayed, acknowledgements)
                if self._replayer is not None:
                    # What is remembered as replayed must be there.
                    await asyncio.gather(*acknowledgements)
                for number, offsets in handled.items():
                    for page, value in offsets.take_changes():
                        key = page_key(number, page)
                        acknowledgements.append(
                            await producer.send(self._handled_topic, value, key, partition=0)
                        )
            finally:
                # aiokafka would commit a transaction in which a send has failed.
                results = await asyncio.gather(*acknowledgements, return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            await producer.commit_transaction()
            committed()
            await producer.begin_transaction()
        except (errors.ProducerFenced, errors.InvalidProducerEpoch) as error:
            raise UserError(
                f"another `headrace dlq` command took over the dead letters of {self._topic}; this "
                "one has ended"
            ) from error
        except errors.KafkaError as error:
            await self._abort()
            raise self._explain(error) from error

    async def _abort(self) -> None:
        """Abort, or the readers of the requests topic would wait for the transaction's timeout."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._producer.abort_transaction()
        except (TimeoutError, errors.KafkaError, AssertionError) as error:
            # aiokafka asserts that there is something to abort.
            log.debug("aborting a transaction on %s ended with %r", self._topic, error)

    async def _connect_replayer(self, requests: KafkaSettings) -> None:
        producer = AIOKafkaProducer(
            **client_options(requests),
            acks="all",
            enable_idempotence=True,
            linger_ms=5,
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=LARGEST_REQUEST_BYTES,
        )
        try:
            with explaining_failures(requests, self._doing):
                await producer.start()
        except BaseException:
            await producer.stop()
            raise
        self._replayer = producer

    def _make_producer(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            **client_options(self._kafka),
            transactional_id=transactional_id(self._topic),
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            acks="all",
            linger_ms=5,
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=LARGEST_REQUEST_BYTES,
        )

    async def _connect(self) -> None:
        """Connect, and wait for the producer id: it comes once earlier transactions have ended."""
        try:
            with explaining_failures(self._kafka, self._doing):
                await self._producer.start()
                await self._producer.begin_transaction()
        except BaseException:
            await self._close()
            raise

    def _explain(self, error: errors.KafkaError) -> SourceError:
        if isinstance(error, errors.TransactionalIdAuthorizationFailed):
            return SourceError(
                f"{self._doing}: {error}; grant this user Write and Describe on the transactional "
                f"id {transactional_id(self._topic)}"
            )
        return explain(error, self._kafka, self._doing)

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._producer.stop()
        except (TimeoutError, errors.KafkaError) as error:
            log.debug("closing the producer of %s ended with %r", self._topic, error)
            await self._producer.client.close()


async def _send_all(
    producer: AIOKafkaProducer,
    replayed: Sequence[Outgoing],
    acknowledgements: list[asyncio.Future[object]],
) -> None:
    for message, partition in replayed:
        acknowledgements.append(
            await producer.send(
                message.topic,
                message.value,
                message.key,
                partition=partition,
                headers=message.headers,
            )
        )
