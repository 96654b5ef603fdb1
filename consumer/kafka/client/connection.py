"""Turns settings into the arguments of aiokafka's clients, and its errors into advice."""

import logging
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiokafka import errors
from aiokafka.record import default_records

from consumer.ports import SourceError
from schemas.settings.file import KafkaSettings, TlsSettings

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

    ``SourceError`` means that a TLS file cannot be read.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap.split(","),
        "security_protocol": settings.security_protocol,
        "metadata_max_age_ms": METADATA_MAX_AGE_MS,
    }
    if settings.tls is not None:
        options["ssl_context"] = make_ssl_context(settings.tls)
    if settings.sasl is not None:
        options["sasl_mechanism"] = settings.sasl.mechanism
        options["sasl_plain_username"] = settings.sasl.username
        options["sasl_plain_password"] = settings.sasl.password.get_secret_value()
    return options


def make_ssl_context(tls: TlsSettings) -> ssl.SSLContext:
    """Return a context that verifies the broker; ``SourceError`` names a bad file's setting."""
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SourceError(
            f"kafka.tls.ca_file: cannot read CA certificates from {tls.ca_file}: {error}"
        ) from error
    context.check_hostname = tls.check_hostname
    if tls.cert_file is not None:
        password = None if tls.key_password is None else tls.key_password.get_secret_value()
        try:
            # Without a password OpenSSL would ask for one at the terminal.
            context.load_cert_chain(tls.cert_file, tls.key_file, password=password or "")
        except (OSError, ssl.SSLError) as error:
            raise SourceError(
                f"kafka.tls: cannot load cert_file {tls.cert_file} with key_file {tls.key_file}: "
                f"{error}; check that they are PEM, belong together, and key_password"
            ) from error
    return context


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
        checks = [f"kafka.bootstrap ({settings.bootstrap}) and that a broker listens there"]
        checks.append(f"that the listener speaks {settings.security_protocol}")
        if settings.sasl is not None:
            checks.append(
                f"kafka.sasl (mechanism {settings.sasl.mechanism}, "
                f"username {settings.sasl.username}, and the password)"
            )
        if settings.tls is not None:
            checks.append("kafka.tls (the CA, and the name in the broker's certificate)")
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
