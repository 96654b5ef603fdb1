"""The arguments of aiokafka's clients, and its errors as advice."""

import logging
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from aiokafka import errors
from aiokafka.client import AIOKafkaClient

from headrace_client.errors import ClientError, KafkaError
from headrace_client.kafka.reach import within_reach
from headrace_client.kafka.security.credentials import Credentials
from headrace_client.security import from_environment
from headrace_client.settings import Connection

METADATA_MAX_AGE_MS = 10_000
"""How soon added partitions are noticed."""
_COMPLAINTS = ("Unable connect to", "Unable to request metadata from")

_HINTS: dict[type[errors.KafkaError], str] = {
    errors.TopicAuthorizationFailedError: (
        "grant this user Write on the requests topic, Read on the results topic, and Describe on "
        "both"
    ),
    errors.GroupAuthorizationFailedError: "grant this user Describe on the service's group",
    errors.ClusterAuthorizationFailedError: "grant this user IdempotentWrite on the cluster",
    errors.UnknownTopicOrPartitionError: (
        "create the topic, or check its name and that this user may describe it"
    ),
}


def client_options(connection: Connection) -> dict[str, Any]:
    """Return the arguments of every aiokafka client; they hold the password: never log them.

    Files and the environment are read now; ``SettingsError`` names what is missing.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": connection.bootstrap.split(","),
        "security_protocol": connection.security_protocol,
        "metadata_max_age_ms": METADATA_MAX_AGE_MS,
        "client_id": "headrace-client",
    }
    options |= Credentials(connection).options()
    return options


def fetch_options(connection: Connection, max_wait_ms: int | None = None) -> dict[str, Any]:
    """Return the arguments of an aiokafka consumer on how it fetches.

    ``max_wait_ms`` counts where the settings say nothing; aiokafka's own where that is ``None``.
    """
    options: dict[str, Any] = {"fetch_min_bytes": connection.fetch_min_bytes}
    wait_ms = connection.fetch_max_wait_ms
    if (max_wait_ms := max_wait_ms if wait_ms is None else wait_ms) is not None:
        options["fetch_max_wait_ms"] = max_wait_ms
    if connection.client_rack is not None:
        where = f"{connection.section}.client_rack"
        options["client_rack"] = from_environment(connection.client_rack, where)
    return options


def compression_type(connection: Connection) -> str | None:
    """Return the codec of what is published, as aiokafka's producer takes it."""
    return None if connection.compression == "none" else connection.compression


@contextmanager
def explaining_failures(connection: Connection, doing: str) -> Iterator[None]:
    """Turn aiokafka's errors into a ``KafkaError`` that says what to check."""
    reasons = _BootstrapReasons()
    logger = logging.getLogger("aiokafka")
    logger.addHandler(reasons)
    try:
        yield
    except errors.KafkaError as error:
        raise explain(error, connection, doing, reasons.seen) from error
    except OSError as error:
        if isinstance(error, ClientError):
            raise
        raise explain(errors.KafkaConnectionError(str(error)), connection, doing) from error
    finally:
        logger.removeHandler(reasons)


def explain(
    error: errors.KafkaError, connection: Connection, doing: str, reasons: Iterable[str] = ()
) -> KafkaError:
    if isinstance(error, errors.KafkaConnectionError):
        checks = connection_checks(connection)
        because = "; ".join(reasons) or str(error)
        return KafkaError(f"{doing}: cannot connect: {because}. Check {', '.join(checks)}.")
    hint = _HINTS.get(type(error), "see the log of aiokafka for what led to it")
    return KafkaError(f"{doing}: {error}; {hint}")


def connection_checks(connection: Connection) -> list[str]:
    """Return what to check where no connection can be made; without any secret."""
    section = connection.section
    checks = [
        f"{section}.bootstrap ({connection.bootstrap}) and that a broker listens there",
        f"that the listener speaks {connection.security_protocol}",
    ]
    sasl = connection.sasl
    if sasl is not None and sasl.oauth is not None:
        where = sasl.oauth.token_url or sasl.oauth.token_provider
        checks.append(f"{section}.sasl.oauth (tokens come from {where})")
    elif sasl is not None:
        checks.append(
            f"{section}.sasl (mechanism {sasl.mechanism}, username {sasl.username}, and the "
            "password)"
        )
    if connection.tls is not None:
        checks.append(f"{section}.tls (the CA, and the name in the broker's certificate)")
    return checks


async def start_within_reach(
    starting: Coroutine[Any, Any, None], client: AIOKafkaClient, doing: str
) -> None:
    """Await a client's start; ``KafkaError`` if it fails and no broker can be reached."""
    await within_reach(starting, client, doing, KafkaError)


class _BootstrapReasons(logging.Handler):
    """Collects why aiokafka could not connect: only its log says so, not its exception."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message.startswith(_COMPLAINTS) and message not in self.seen:
            self.seen.append(message)
