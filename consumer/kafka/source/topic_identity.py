"""Which topic stands under a name: one that is deleted and created again has another id.

Offsets of the old one say nothing about the new one, however much the new one already holds.
Metadata 10 (KIP-516, Kafka 2.8) is the first that tells; aiokafka 0.14 knows versions up to 5.
"""
# ruff: noqa: SLF001 - nothing public sends a request to whatever broker is there

import asyncio
import logging
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

from aiokafka import AIOKafkaConsumer, errors
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from consumer.engine.offsets.completion_map import LOG_ID_BYTES
from consumer.ports import SourceError

log = logging.getLogger(__name__)

LOOK_AGAIN_AFTER_S = 5.0
"""How soon a topic that was created again is noticed while it is read."""
_ANSWER_S = 3.0
_UUID_BYTES = 16
_NOBODY = bytes(_UUID_BYTES)
_NO_TAGS: dict[int, bytes] = {}


class Uuid(AbstractType[bytes]):  # type: ignore[misc]  # aiokafka is untyped
    """Sixteen bytes."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        """Return the bytes."""
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        """Return the next sixteen bytes."""
        return data.read(_UUID_BYTES)


class MetadataResponse_v10(Response):  # type: ignore[misc]  # noqa: N801 - aiokafka's way
    """Brokers and topics, with the topics' ids."""

    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString("utf-8")),
                ("topic_id", Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class MetadataRequest_v10(RequestStruct):  # type: ignore[misc]  # noqa: N801 - aiokafka's way
    """Asks for topics by name."""

    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = MetadataResponse_v10
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic_id", Uuid), ("topic", CompactString("utf-8")), ("tags", TaggedFields)
            ),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class TopicIdRequest(Request[MetadataRequest_v10]):  # type: ignore[misc]  # aiokafka is untyped
    """Asks for one topic, and does not create it.

    Args:
        topic: Its name.
    """

    API_KEY = 3

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[Any]) -> Any:
        """Return the request."""
        topics = [(_NOBODY, self._topic, _NO_TAGS)]
        return request_struct_class(topics, False, False, False, _NO_TAGS)


class TopicIdentity:
    """Knows which topic a consumer began to read, and sees whether it is still that one.

    Args:
        consumer: A consumer that has been started.
        topic: The topic's name.

    Attributes:
        log_id: Stands for the topic's id in commits; empty where no broker tells.
    """

    def __init__(self, consumer: AIOKafkaConsumer, topic: str) -> None:
        self._consumer = consumer
        self._topic = topic
        self._knows_ids = True
        self.log_id = b""

    async def look(self) -> None:
        """Ask a broker; keep what is known where none answers.

        Raises:
            SourceError: It is another topic now.
        """
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
        """Look on and on, until it is another topic."""
        while True:
            await asyncio.sleep(LOOK_AGAIN_AFTER_S)
            try:
                await self.look()
            except SourceError as error:
                on_change(error)
                return

    async def _ask(self) -> bytes:
        client = self._consumer._client
        try:
            async with asyncio.timeout(_ANSWER_S):
                response = await client.send(client.get_random_node(), TopicIdRequest(self._topic))
        except (errors.IncompatibleBrokerVersion, NotImplementedError):
            log.info("the brokers know no topic ids; Kafka does since 2.8")
            self._knows_ids = False
            return b""
        except (TimeoutError, errors.KafkaError) as error:
            log.debug("nobody says which topic %s is: %r", self._topic, error)
            return b""
        ((code, _name, topic_id, *_rest),) = response.topics
        if code:
            # The client is to see it too: of a topic that is gone it asks on and on.
            client.force_metadata_update()
            return b""
        return b"" if topic_id == _NOBODY else bytes(topic_id)
