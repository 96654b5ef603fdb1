"""Turns settings into the arguments of aiokafka's clients, and its errors into advice."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiokafka import errors
from aiokafka.record import default_records
from pydantic import SecretStr

from consumer.ports import SourceError
from headrace_client.errors import SettingsError
from headrace_client.kafka import connecting
from headrace_client.kafka.security.credentials import Credentials
from headrace_client.settings import COMPRESSIONS, Connection, OAuth, Sasl, Tls
from schemas.settings.file import KafkaSettings, SaslSettings
from schemas.settings.section import Section

log = logging.getLogger(__name__)

METADATA_MAX_AGE_MS = 60_000
"""How soon added partitions are noticed."""

_HINTS: dict[type[errors.KafkaError], str] = {
    errors.TopicAuthorizationFailedError: (
        "grant this user Read and Describe on the requests topic, and Write on the others"
    ),
    errors.GroupAuthorizationFailedError: "grant this user Read on the consumer group",
    errors.ClusterAuthorizationFailedError: "grant this user IdempotentWrite on the cluster",
    errors.TransactionalIdAuthorizationFailed: (
        "grant this user Write on transactional ids that begin with headrace-"
    ),
    errors.InvalidTransactionTimeout: (
        "transactions.timeout_ms is over the brokers' transaction.max.timeout.ms: lower it, or "
        "raise theirs"
    ),
    errors.UnknownTopicOrPartitionError: (
        "create the topic, or check its name and that this user may describe it"
    ),
    errors.InconsistentGroupProtocolError: (
        "other programs are in this consumer group: give the route a group of its own"
    ),
    errors.InvalidSessionTimeoutError: (
        "membership.session_timeout_ms is outside what the brokers allow "
        "(group.min.session.timeout.ms to group.max.session.timeout.ms)"
    ),
}

_BOOTSTRAP_COMPLAINTS = ("Unable connect to", "Unable to request metadata from")


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """Return the arguments of every aiokafka client; they hold the password: never log them.

    Files and the environment are read now; ``SourceError`` names what is missing.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap.split(","),
        "security_protocol": settings.security_protocol,
        "metadata_max_age_ms": METADATA_MAX_AGE_MS,
    }
    try:
        return options | Credentials(connection_of(settings)).options()
    except SettingsError as error:
        raise SourceError(str(error)) from error


def fetch_options(settings: KafkaSettings, max_wait_ms: int | None = None) -> dict[str, Any]:
    """Return the arguments of an aiokafka consumer on how it fetches.

    ``max_wait_ms`` counts where the settings say nothing; aiokafka's own where that is ``None``.
    """
    try:
        return connecting.fetch_options(connection_of(settings), max_wait_ms)
    except SettingsError as error:
        raise SourceError(str(error)) from error


def compression_type(settings: KafkaSettings) -> str | None:
    """Return the codec of what is published, as aiokafka's producer takes it."""
    return None if settings.compression == "none" else settings.compression


def compression_code(settings: KafkaSettings) -> int:
    """Return Kafka's number of the codec of what is published."""
    return COMPRESSIONS.index(settings.compression)


def connection_of(settings: KafkaSettings) -> Connection:
    """Return the settings as the client has them; ``SettingsError`` if they are illegal there."""
    tls, sasl = settings.tls, settings.sasl
    return Connection(
        bootstrap=settings.bootstrap,
        tls=None if tls is None else Tls(**_plain(tls)),
        sasl=None if sasl is None else _sasl_of(sasl),
        client_rack=settings.client_rack,
        fetch_min_bytes=settings.fetch_min_bytes,
        fetch_max_wait_ms=settings.fetch_max_wait_ms,
        compression=settings.compression,
        linger_ms=settings.linger_ms,
    )


def _sasl_of(sasl: SaslSettings) -> Sasl:
    values = _plain(sasl)
    oauth = values.pop("oauth")
    return Sasl(**values, oauth=None if oauth is None else OAuth(**_plain(oauth)))


def _plain(section: Section) -> dict[str, Any]:
    """Return a section's values: its secrets, and its paths as text."""
    values = {name: getattr(section, name) for name in type(section).model_fields}
    return {
        name: each.get_secret_value()
        if isinstance(each, SecretStr)
        else (str(each) if isinstance(each, Path) else each)
        for name, each in values.items()
    }


def warn_if_slow() -> None:
    if not has_c_extensions():
        log.warning(
            "aiokafka runs without its C extensions, some 30 times slower: install a wheel for "
            "this platform, and unset AIOKAFKA_NO_EXTENSIONS",
            extra={"event": "slow_kafka_client"},
        )


def has_c_extensions() -> bool:
    module: str = default_records.DefaultRecordBatchBuilder.__module__
    return module.startswith("aiokafka.record._crecords")


@contextmanager
def explaining_failures(settings: KafkaSettings, doing: str) -> Iterator[None]:
    """Turn aiokafka's errors into a ``SourceError`` that says what to check."""
    reasons = _BootstrapReasons()
    logger = logging.getLogger("aiokafka")
    logger.addHandler(reasons)
    try:
        yield
    except errors.KafkaError as error:
        raise explain(error, settings, doing, reasons.seen) from error
    except OSError as error:
        raise explain(errors.KafkaConnectionError(str(error)), settings, doing, ()) from error
    finally:
        logger.removeHandler(reasons)


def explain(
    error: errors.KafkaError,
    settings: KafkaSettings,
    doing: str,
    reasons: list[str] | tuple[str, ...] = (),
) -> SourceError:
    if isinstance(error, errors.KafkaConnectionError):
        checks = connecting.connection_checks(connection_of(settings))
        because = f": {'; '.join(reasons)}" if reasons else f": {error}"
        return SourceError(f"{doing}: cannot connect{because}. Check {', '.join(checks)}.")
    if isinstance(error, errors.OffsetMetadataTooLargeError):
        hint = (
            f"kafka.offset_metadata_max_bytes is {settings.offset_metadata_max_bytes}; set it "
            "to the brokers' offset.metadata.max.bytes"
        )
    else:
        hint = _HINTS.get(type(error), "see the log of aiokafka for what led to it")
    return SourceError(f"{doing}: {error}; {hint}")


class _BootstrapReasons(logging.Handler):
    """Collects why aiokafka could not connect: only its log says so, not its exception."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message.startswith(_BOOTSTRAP_COMPLAINTS) and message not in self.seen:
            self.seen.append(message)
