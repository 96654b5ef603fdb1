"""The arguments of aiokafka's clients, and its errors as advice."""

import logging
import ssl
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from aiokafka import errors
from aiokafka.client import AIOKafkaClient

from headrace_client.errors import ClientError, KafkaError, SettingsError
from headrace_client.kafka.reach import within_reach
from headrace_client.settings import Connection, Tls

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

    ``SettingsError`` means that a TLS file cannot be read.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": connection.bootstrap.split(","),
        "security_protocol": connection.security_protocol,
        "metadata_max_age_ms": METADATA_MAX_AGE_MS,
        "client_id": "headrace-client",
    }
    if connection.tls is not None:
        options["ssl_context"] = make_ssl_context(connection.tls)
    if connection.sasl is not None:
        options["sasl_mechanism"] = connection.sasl.mechanism
        options["sasl_plain_username"] = connection.sasl.username
        options["sasl_plain_password"] = connection.sasl.password
    return options


def make_ssl_context(tls: Tls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"kafka.tls.ca_file: cannot read CA certificates from {tls.ca_file}: {error}"
        ) from error
    context.check_hostname = tls.check_hostname
    if tls.cert_file is not None:
        try:
            # Without a password OpenSSL would ask for one at the terminal.
            context.load_cert_chain(tls.cert_file, tls.key_file, password=tls.key_password or "")
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(
                f"kafka.tls: cannot load cert_file {tls.cert_file} with key_file {tls.key_file}: "
                f"{error}; check that they are PEM, belong together, and key_password"
            ) from error
    return context


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
        checks = [f"kafka.bootstrap ({connection.bootstrap}) and that a broker listens there"]
        checks.append(f"that the listener speaks {connection.security_protocol}")
        if connection.sasl is not None:
            checks.append(
                f"kafka.sasl (mechanism {connection.sasl.mechanism}, "
                f"username {connection.sasl.username}, and the password)"
            )
        if connection.tls is not None:
            checks.append("kafka.tls (the CA, and the name in the broker's certificate)")
        because = "; ".join(reasons) or str(error)
        return KafkaError(f"{doing}: cannot connect: {because}. Check {', '.join(checks)}.")
    hint = _HINTS.get(type(error), "see the log of aiokafka for what led to it")
    return KafkaError(f"{doing}: {error}; {hint}")


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
