"""The id of the topic that has a name: a topic that is created again has another one.

Offsets in the old topic mean nothing in the new one, however many records that holds. Metadata 10
(KIP-516, Kafka 2.8) is the first version with ids; aiokafka 0.14 has versions up to 5.
"""
# ruff: noqa: SLF001 - nothing public sends a request to whatever broker is there

import asyncio
import logging
import zlib
from collections.abc import Callable
from io import BytesIO

from aiokafka import AIOKafkaConsumer, errors
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.types import Boolean, CompactArray, Int16, Int32

from consumer.engine.offsets.completion_map import LOG_ID_BYTES
from consumer.kafka.client.structs import NO_TAGS, TEXT, FlexibleRequest, array, request_struct
from consumer.ports import SourceError

log = logging.getLogger(__name__)

LOOK_AGAIN_AFTER_S = 5.0
"""How soon a topic that was created again is noticed while it is read."""
_ANSWER_S = 3.0
_UUID_BYTES = 16
_NO_ID = bytes(_UUID_BYTES)


class _Uuid(AbstractType[bytes]):  # type: ignore[misc]  # aiokafka is untyped
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(_UUID_BYTES)


_MetadataRequest_v10 = request_struct(
    3,
    10,
    (
        array("topics", ("topic_id", _Uuid), ("topic", TEXT)),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    ),
    (
        ("throttle_time_ms", Int32),
        array("brokers", ("node_id", Int32), ("host", TEXT), ("port", Int32), ("rack", TEXT)),
        ("cluster_id", TEXT),
        ("controller_id", Int32),
        array(
            "topics",
            ("error_code", Int16),
            ("topic", TEXT),
            ("topic_id", _Uuid),
            ("is_internal", Boolean),
            array(
                "partitions",
                ("error_code", Int16),
                ("partition", Int32),
                ("leader", Int32),
                ("leader_epoch", Int32),
                ("replicas", CompactArray(Int32)),
                ("isr", CompactArray(Int32)),
                ("offline_replicas", CompactArray(Int32)),
            ),
            ("authorized_operations", Int32),
        ),
        ("cluster_authorized_operations", Int32),
    ),
)


class TopicIdentity:
    """Notices when another topic has the name; ``log_id`` is empty if no broker gives an id."""

    def __init__(self, consumer: AIOKafkaConsumer, topic: str) -> None:
        self._consumer = consumer
        self._topic = topic
        self._knows_ids = True
        self.log_id = b""

    async def look(self) -> None:
        """Ask a broker for the id; ``SourceError`` if another topic has the name."""
        if not self._knows_ids:
            return
        found = await self._ask()
        log_id = found and zlib.crc32(found).to_bytes(LOG_ID_BYTES, "big")
        if self.log_id and log_id and log_id != self.log_id:
            raise SourceError(
                f"topic {self._topic} was deleted and created again while it was read: the "
                "consumer starts afresh on the new one"
            )
        self.log_id = log_id or self.log_id

    async def watch(self, on_change: Callable[[SourceError], object]) -> None:
        while True:
            await asyncio.sleep(LOOK_AGAIN_AFTER_S)
            try:
                await self.look()
            except SourceError as error:
                on_change(error)
                return

    async def _ask(self) -> bytes:
        client = self._consumer._client
        topics = [(_NO_ID, self._topic, NO_TAGS)]
        request = FlexibleRequest(_MetadataRequest_v10, topics, False, False, False)
        try:
            async with asyncio.timeout(_ANSWER_S):
                response = await client.send(client.get_random_node(), request)
        except (errors.IncompatibleBrokerVersion, NotImplementedError):
            log.info("the brokers have no topic ids; Kafka has since 2.8")
            self._knows_ids = False
            return b""
        except (TimeoutError, errors.KafkaError) as error:
            log.debug("no broker gives the id of topic %s: %r", self._topic, error)
            return b""
        ((code, _name, topic_id, *_rest),) = response.topics
        if code:
            # The client would keep asking for the leaders of a topic that is gone.
            client.force_metadata_update()
            return b""
        return b"" if topic_id == _NO_ID else bytes(topic_id)
