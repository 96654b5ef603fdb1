"""The idempotent producer, replaced once a batch was refused.

After a refused batch, aiokafka's idempotent producer ends every later batch of that partition with
OutOfOrderSequence: its sequence numbers have a gap that nothing closes.
"""

import asyncio
import logging
from typing import Any

from aiokafka import AIOKafkaProducer, errors
from aiokafka.cluster import ClusterMetadata

from headrace_client.kafka.connecting import (
    client_options,
    explaining_failures,
    start_within_reach,
)
from headrace_client.kafka.mending import mend_producer
from headrace_client.settings import Connection

log = logging.getLogger(__name__)

_STOP_S = 5.0
_RETIRE_S = 30.0
"""How long a replaced producer may deliver the batches that it has."""
_FIRST_BACKOFF_S = 0.1
_MAX_BACKOFF_S = 5.0

FOR_GOOD = (
    errors.AuthenticationFailedError,
    errors.ClusterAuthorizationFailedError,
    errors.TopicAuthorizationFailedError,
    errors.UnsupportedVersionError,
)
"""Errors that do not pass."""


class ProducerSlot:
    def __init__(self, connection: Connection, doing: str, options: dict[str, Any]) -> None:
        self._connection = connection
        self._doing = doing
        self._options = {
            **client_options(connection),
            "acks": "all",
            "enable_idempotence": True,
            **options,
        }
        self._producer: AIOKafkaProducer | None = None
        self._lock = asyncio.Lock()
        self._retirements: set[asyncio.Task[None]] = set()

    async def start(self) -> AIOKafkaProducer:
        """Connect the first producer; ``KafkaError`` says what to check if that fails."""
        with explaining_failures(self._connection, self._doing):
            self._producer = await self._connect()
        return self._producer

    async def get(self) -> AIOKafkaProducer:
        """Return a working producer; without one, connect until a broker is back."""
        async with self._lock:
            backoff_s = _FIRST_BACKOFF_S
            while self._producer is None:
                try:
                    self._producer = await self._connect()
                except FOR_GOOD:
                    raise
                except (errors.KafkaError, OSError) as error:
                    log.warning(
                        "%s: %s; trying again in %.1f s",
                        self._doing,
                        error,
                        backoff_s,
                        extra={
                            "event": "broker_not_reached",
                            "backoff_s": round(backoff_s, 1),
                            "error_class": type(error).__name__,
                        },
                    )
                    await asyncio.sleep(backoff_s)
                    backoff_s = min(2 * backoff_s, _MAX_BACKOFF_S)
            return self._producer

    @property
    def cluster(self) -> ClusterMetadata | None:
        return None if self._producer is None else self._producer.client.cluster

    async def learn_leaders(self) -> None:
        if self._producer is not None:
            await self._producer.client.force_metadata_update()

    def retire(self, producer: AIOKafkaProducer) -> None:
        """Take ``producer`` out of use; its batches in flight may still arrive."""
        if self._producer is producer:
            self._producer = None
            task = asyncio.create_task(stop_producer(producer, _RETIRE_S))
            self._retirements.add(task)
            task.add_done_callback(self._retirements.discard)

    async def stop(self) -> None:
        producer, self._producer = self._producer, None
        for task in self._retirements:
            task.cancel()
        if self._retirements:
            await asyncio.wait(self._retirements)
        if producer is not None:
            await stop_producer(producer, _STOP_S)

    async def _connect(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(**self._options)
        mend_producer(producer)
        try:
            await start_within_reach(producer.start(), producer.client, self._doing)
        except BaseException:
            await stop_producer(producer, _STOP_S)
            raise
        return producer


async def stop_producer(producer: AIOKafkaProducer, timeout_s: float) -> None:
    """Stop; after ``timeout_s`` close the connections, and fail the batches that are left."""
    try:
        async with asyncio.timeout(timeout_s):
            await producer.stop()
    except (TimeoutError, asyncio.CancelledError) as error:
        # With its connections closed, the sender's requests end, and then the sender.
        await producer.client.close()
        await producer._sender.close()  # noqa: SLF001 - stop() returns at once a second time
        if isinstance(error, asyncio.CancelledError):
            raise
    except errors.KafkaError as error:
        log.debug("a replaced producer ended with %r", error)
    finally:
        _fail_the_rest(producer)


def _fail_the_rest(producer: AIOKafkaProducer) -> None:
    """Fail the batches of a sender that was cut off: it does not do so itself."""
    accumulator = producer._message_accumulator  # noqa: SLF001 - stop() does not do it
    accumulator.fail_all(errors.ProducerClosed())
    for batches in accumulator._batches.values():  # noqa: SLF001 - nothing is public here
        for batch in batches:
            # Nobody waits for this one, and asyncio would complain.
            batch._drain_waiter.exception()  # noqa: SLF001 - as above
