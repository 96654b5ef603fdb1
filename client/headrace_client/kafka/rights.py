"""What this user may do with topics and groups, as brokers say it."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from aiokafka import errors
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.admin import DescribeGroupsRequest_v3, DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request, RequestStruct

from headrace_client.kafka.identity import NO_ID, NO_TAGS, MetadataStruct

log = logging.getLogger(__name__)

_ANSWER_S = 5.0
_OPERATIONS = {
    3: "READ",
    4: "WRITE",
    5: "CREATE",
    6: "DELETE",
    8: "DESCRIBE",
    10: "DESCRIBE_CONFIGS",
}
"""Numbers of ``AclOperation``; a set bit of that number means that it is allowed."""
_NOT_SAID = -(2**31)


class _Request(Request[RequestStruct]):  # type: ignore[misc]  # aiokafka is untyped
    API_KEY = 3

    def __init__(self, topics: Sequence[str]) -> None:
        self._CLASSES = (MetadataStruct,)
        self._topics = topics

    def build(self, request_struct_class: Any) -> Any:
        topics = [(NO_ID, topic, NO_TAGS) for topic in self._topics]
        return request_struct_class(topics, False, False, True, NO_TAGS)


class _GroupStruct(DescribeGroupsRequest_v3):  # type: ignore[misc]  # aiokafka is untyped
    # aiokafka 0.14 reads the answer as of version 2, without the operations.
    RESPONSE_TYPE = DescribeGroupsResponse_v3


class _GroupRequest(Request[RequestStruct]):  # type: ignore[misc]  # aiokafka is untyped
    API_KEY = 15

    def __init__(self, group: str) -> None:
        self._CLASSES = (_GroupStruct,)
        self._group = group

    def build(self, request_struct_class: Any) -> Any:
        return request_struct_class([self._group], True)


def operations_of(bits: int) -> frozenset[str] | None:
    """Return the names of a bit field of operations; ``None`` where brokers do not say them."""
    if bits == _NOT_SAID:
        return None
    return frozenset(name for number, name in _OPERATIONS.items() if bits >> number & 1)


async def ask_topic_rights(
    client: AIOKafkaClient, topics: Sequence[str]
) -> tuple[dict[str, frozenset[str]], frozenset[str]]:
    """Return what this user may do with each topic, and the topics that are hidden from it.

    Topics that are missing are left out, and all of them where brokers are older than 2.8.
    """
    try:
        async with asyncio.timeout(_ANSWER_S):
            response = await client.send(client.get_random_node(), _Request(topics))
    except (errors.IncompatibleBrokerVersion, NotImplementedError):
        return {}, frozenset()
    except (TimeoutError, errors.KafkaError) as error:
        log.debug("no broker says what this user may do: %r", error)
        return {}, frozenset()
    rights: dict[str, frozenset[str]] = {}
    hidden: set[str] = set()
    for code, topic, _id, _is_internal, _partitions, bits, _tags in response.topics:
        if code == errors.TopicAuthorizationFailedError.errno:
            hidden.add(topic)
        elif not code and (operations := operations_of(bits)) is not None:
            rights[topic] = operations
    return rights, frozenset(hidden)


async def ask_group_rights(client: AIOKafkaAdminClient, group: str) -> frozenset[str] | None:
    """Return what this user may do as a group; ``None`` where brokers do not say it."""
    try:
        async with asyncio.timeout(_ANSWER_S):
            node_id = await client.find_coordinator(group)
            response = await client._client.send(node_id, _GroupRequest(group))  # noqa: SLF001 - nothing public
    except errors.GroupAuthorizationFailedError:
        return frozenset()
    except (TimeoutError, errors.KafkaError, NotImplementedError) as error:
        log.debug("no broker says what this user may do as group %s: %r", group, error)
        return None
    ((code, *_state, bits),) = response.groups
    if code == errors.GroupAuthorizationFailedError.errno:
        return frozenset()
    return None if code else operations_of(bits)
