"""The id of the topic that has a name: a topic that is made again has another one.

Offsets in the old topic mean nothing in the new one, however many records that holds. Metadata 10
(KIP-516, Kafka 2.8) is the first version with ids; aiokafka 0.14 has versions up to 5.
"""

import asyncio
import logging
from io import BytesIO
from typing import Any

from aiokafka import errors
from aiokafka.client import AIOKafkaClient
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

log = logging.getLogger(__name__)

_ANSWER_S = 3.0
_UUID_BYTES = 16
NO_ID = bytes(_UUID_BYTES)
NO_TAGS: dict[int, bytes] = {}
_TEXT = CompactString("utf-8")
_TAGS = ("tags", TaggedFields)


class _Uuid(AbstractType[bytes]):  # type: ignore[misc]  # aiokafka is untyped
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(_UUID_BYTES)


class _MetadataResponse(Response):  # type: ignore[misc]  # aiokafka is untyped
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT), _TAGS
            ),
        ),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", _TEXT),
                ("topic_id", _Uuid),
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
                        _TAGS,
                    ),
                ),
                ("authorized_operations", Int32),
                _TAGS,
            ),
        ),
        ("cluster_authorized_operations", Int32),
        _TAGS,
    )


class MetadataStruct(RequestStruct):  # type: ignore[misc]  # aiokafka is untyped
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("topic", _TEXT), _TAGS)),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        _TAGS,
    )


class _MetadataRequest(Request[RequestStruct]):  # type: ignore[misc]  # aiokafka is untyped
    API_KEY = 3

    def __init__(self, topic: str) -> None:
        self._CLASSES = (MetadataStruct,)
        self._topic = topic

    def build(self, request_struct_class: Any) -> Any:
        topics = [(NO_ID, self._topic, NO_TAGS)]
        return request_struct_class(topics, False, False, False, NO_TAGS)


async def ask_topic_id(client: AIOKafkaClient, topic: str) -> bytes | None:
    """Return the topic's id; empty if no broker says it, ``None`` if the brokers have no ids."""
    try:
        async with asyncio.timeout(_ANSWER_S):
            response = await client.send(client.get_random_node(), _MetadataRequest(topic))
    except (errors.IncompatibleBrokerVersion, NotImplementedError):
        return None
    except (TimeoutError, errors.KafkaError) as error:
        log.debug("no broker gives the id of topic %s: %r", topic, error)
        return b""
    ((code, _name, topic_id, *_rest),) = response.topics
    if code:
        # The client would keep asking for the leaders of a topic that is gone.
        client.force_metadata_update()
        return b""
    return b"" if topic_id == NO_ID else bytes(topic_id)


class TopicIdentity:
    """Notices when another topic has the name; knows nothing where brokers give no ids."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._has_ids = True
        self._id = b""

    @property
    def hex(self) -> str:
        """The id when it was last asked for; empty where it is not known."""
        return self._id.hex()

    async def is_new(self, client: AIOKafkaClient) -> bool:
        """Ask a broker; ``True`` once if another topic has the name since the last question."""
        if not self._has_ids:
            return False
        found = await ask_topic_id(client, self._topic)
        self._has_ids = found is not None
        is_new = bool(self._id and found and found != self._id)
        self._id = found or self._id
        return is_new
