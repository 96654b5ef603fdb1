"""Request and response classes for versions of Kafka's protocol that aiokafka 0.14 lacks.

All of them are flexible versions (KIP-482): strings and arrays are compact, and each structure ends
in tagged fields.
"""

from typing import Any

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactString, Int32, Schema, TaggedFields

NO_TAGS: dict[int, bytes] = {}
TEXT = CompactString("utf-8")

Field = tuple[str, Any]


def tagged(*fields: Field) -> tuple[Field, ...]:
    return (*fields, ("tags", TaggedFields))


def array(name: str, *fields: Field) -> Field:
    return name, CompactArray(*tagged(*fields))


PARTITIONS_BY_TOPIC = array("topics", ("topic", TEXT), ("partitions", CompactArray(Int32)))


def request_struct(
    api_key: int, version: int, request: tuple[Field, ...], response: tuple[Field, ...]
) -> Any:
    """Return the class of a flexible request and its response; tagged fields are added."""

    class Answer(Response):  # type: ignore[misc]  # aiokafka is untyped
        API_KEY = api_key
        API_VERSION = version
        SCHEMA = Schema(*tagged(*response))

    class Asked(RequestStruct):  # type: ignore[misc]  # aiokafka is untyped
        FLEXIBLE_VERSION = True
        API_KEY = api_key
        API_VERSION = version
        RESPONSE_TYPE = Answer
        SCHEMA = Schema(*tagged(*request))

    return Asked


class FlexibleRequest(Request[RequestStruct]):  # type: ignore[misc]  # aiokafka is untyped
    """A request in one version; a broker without it raises, e.g. ``IncompatibleBrokerVersion``."""

    API_KEY = -1

    def __init__(self, struct: Any, *values: Any) -> None:
        self.API_KEY = struct.API_KEY
        self._CLASSES = (struct,)
        self._values = values

    def build(self, request_struct_class: Any) -> Any:
        return request_struct_class(*self._values, NO_TAGS)


def with_tags(topics: list[tuple[str, list[int]]]) -> list[tuple[str, list[int], dict[int, bytes]]]:
    return [(topic, numbers, NO_TAGS) for topic, numbers in topics]
