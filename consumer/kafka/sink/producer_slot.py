"""The idempotent producer, replaced whenever the outcome of a batch is a failure or unknown.

After a rejected batch, aiokafka's idempotent producer ends every later batch of that partition with
OutOfOrderSequence: its sequence numbers have a gap that nothing closes.
"""

import asyncio
import logging
from typing import Any

from aiokafka import AIOKafkaProducer, errors
from aiokafka.cluster import ClusterMetadata

from consumer.kafka.client.connection import client_options, explain, explaining_failures
from consumer.kafka.client.mending import mend_client_of
from consumer.ports import SourceError
from schemas.settings.file import KafkaSettings

log = logging.getLogger(__name__)

FIRST_BACKOFF_S = 0.1
MAX_BACKOFF_S = 5.0
STOP_TIMEOUT_S = 5.0
RETIRE_TIMEOUT_S = 30.0
"""How long a replaced producer may deliver the batches that it has."""

REFUSALS = (
    errors.AuthenticationFailedError,
    errors.ClusterAuthorizationFailedError,
    errors.TopicAuthorizationFailedError,
    errors.UnsupportedVersionError,
)
"""Errors that do not pass."""


class ProducerSlot:
    def __init__(self, settings: KafkaSettings, max_batch_bytes: int, doing: str) -> None:
        self._settings = settings
        self._options: dict[str, Any] = {
            **client_options(settings),
            "acks": "all",
            "enable_idempotence": True,
            # Measured on 8 kB embedding lines: 37 µs a message as they are, 67 with snappy, 72 with
            # zstd, 310 with lz4. A topic's compression.type compresses in the broker.
            "compression_type": None,
            "max_batch_size": max_batch_bytes,
        }
        self._doing = doing
        self._producer: AIOKafkaProducer | None = None
        self._lock = asyncio.Lock()
        self._retirements: set[asyncio.Task[None]] = set()

    async def start(self) -> AIOKafkaProducer:
        """Connect the first producer; ``SourceError`` says what to check if that fails."""
        with explaining_failures(self._settings, self._doing):
            self._producer = await self._connect()
        return self._producer

    async def get(self) -> AIOKafkaProducer:
        """Return a working producer; without one, connect until a broker is back or refuses us."""
        async with self._lock:
            backoff_s = FIRST_BACKOFF_S
            while self._producer is None:
                try:
                    self._producer = await self._connect()
                except REFUSALS as error:
                    raise explain(error, self._settings, self._doing) from error
                except (errors.KafkaError, OSError) as error:
                    log.warning("%s: %s; trying again in %.1f s", self._doing, error, backoff_s)
                    await asyncio.sleep(backoff_s)
                    backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)
            return self._producer

    @property
    def cluster(self) -> ClusterMetadata | None:
        return None if self._producer is None else self._producer.client.cluster

    def retire(self, producer: AIOKafkaProducer) -> None:
        """Take ``producer`` out of use; its batches in flight may still arrive."""
        if self._producer is producer:
            self._producer = None
            task = asyncio.create_task(_stop(producer, RETIRE_TIMEOUT_S))
            self._retirements.add(task)
            task.add_done_callback(self._retirements.discard)

    async def stop(self) -> None:
        producer, self._producer = self._producer, None
        for task in self._retirements:
            task.cancel()
        if self._retirements:
            await asyncio.wait(self._retirements)
        if producer is not None:
            await _stop(producer, STOP_TIMEOUT_S)

    async def _connect(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(**self._options)
        mend_client_of(producer)
        try:
            await producer.start()
        except BaseException:
            await _stop(producer, STOP_TIMEOUT_S)
            raise
        return producer


async def _stop(producer: AIOKafkaProducer, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await producer.stop()
    except (TimeoutError, asyncio.CancelledError) as error:
        # With its connections closed, the sender's requests end, and then the sender.
        await producer.client.close()
        await producer._sender.close()  # noqa: SLF001 - stop() returns at once a second time
        if isinstance(error, asyncio.CancelledError):
            raise
    except (errors.KafkaError, SourceError) as error:
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
