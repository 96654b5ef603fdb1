"""Send work to Headrace through Kafka, and read the results."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from headrace_client.errors import (
    BadLineError,
    BodyFetchError,
    ClientError,
    ClosedError,
    DeliveryError,
    KafkaError,
    MissingTopicError,
    RequestCancelledError,
    RequestError,
    RequestExpiredError,
    RequestFailedError,
    RequestRefusedError,
    ResultTimeoutError,
    RouteError,
    SettingsError,
    UnsupportedCallError,
)
from headrace_client.routes import Route, Routes
from headrace_client.settings import ClientSettings, Connection, OAuth, Sasl, Tls, load_settings
from headrace_client.wire.results import Result

if TYPE_CHECKING:
    from headrace_client.calls.blocking import Headrace
    from headrace_client.calls.client import AsyncHeadrace
    from headrace_client.drop_in.client import AsyncOpenAI, OpenAI

__all__ = [
    "AsyncHeadrace",
    "AsyncOpenAI",
    "BadLineError",
    "BodyFetchError",
    "ClientError",
    "ClientSettings",
    "ClosedError",
    "Connection",
    "DeliveryError",
    "Headrace",
    "KafkaError",
    "MissingTopicError",
    "OAuth",
    "OpenAI",
    "RequestCancelledError",
    "RequestError",
    "RequestExpiredError",
    "RequestFailedError",
    "RequestRefusedError",
    "Result",
    "ResultTimeoutError",
    "Route",
    "RouteError",
    "Routes",
    "Sasl",
    "SettingsError",
    "Tls",
    "UnsupportedCallError",
    "load_settings",
]

# These need aiokafka, which takes a fifth of a second to import.
_CLIENTS = {
    "AsyncHeadrace": "calls.client",
    "AsyncOpenAI": "drop_in.client",
    "Headrace": "calls.blocking",
    "OpenAI": "drop_in.client",
}


def __getattr__(name: str) -> Any:
    if name in _CLIENTS:
        return getattr(import_module(f"{__name__}.{_CLIENTS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
