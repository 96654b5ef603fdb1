"""Settings to client arguments, errors to advice, and no secret in either."""

import logging
from pathlib import Path

import pytest
from aiokafka import errors
from aiokafka.conn import collect_hosts
from aiokafka.record import default_records
from pydantic import ValidationError

from consumer.kafka.client.connection import (
    client_options,
    explain,
    explaining_failures,
    has_c_extensions,
    warn_if_slow,
)
from consumer.ports import SourceError
from schemas.settings.file import KafkaSettings, SaslSettings, TlsSettings

PASSWORD = "hush-9f2c"
SECURE = KafkaSettings(
    bootstrap="a:1,b:2", tls=TlsSettings(), sasl=SaslSettings(username="bob", password=PASSWORD)
)


def test_plain_settings_connect_plainly() -> None:
    options = client_options(KafkaSettings(bootstrap="a:1,b:2"))

    assert options["bootstrap_servers"] == ["a:1", "b:2"]
    assert options["security_protocol"] == "PLAINTEXT"
    assert "ssl_context" not in options


@pytest.mark.parametrize("bootstrap", ["[::1]:9092", "[fe80::1%eth0]:9092,kafka-2:9092"])
def test_ipv6_addresses_are_hosts(bootstrap: str) -> None:
    servers = client_options(KafkaSettings(bootstrap=bootstrap))["bootstrap_servers"]

    hosts = {(host, port) for host, port, _family in collect_hosts(servers)}
    assert (bootstrap[1 : bootstrap.index("]")], 9092) in hosts


@pytest.mark.parametrize("bootstrap", ["::1:9092", "[::1]", "[kafka]:9092", "kafka:9092,", "a]:1"])
def test_an_address_that_is_none_is_refused(bootstrap: str) -> None:
    with pytest.raises(ValidationError, match="bootstrap"):
        KafkaSettings(bootstrap=bootstrap)


def test_tls_and_sasl_are_passed_on() -> None:
    options = client_options(SECURE)

    assert options["security_protocol"] == "SASL_SSL"
    assert options["sasl_mechanism"] == "SCRAM-SHA-512"
    assert options["sasl_plain_username"] == "bob"
    assert options["sasl_plain_password"] == PASSWORD
    assert options["ssl_context"].check_hostname


def test_the_host_name_check_can_be_turned_off_without_turning_off_the_rest() -> None:
    context = client_options(KafkaSettings(tls=TlsSettings(check_hostname=False)))["ssl_context"]

    assert not context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"


def test_an_unreadable_ca_file_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "ca.pem"

    with pytest.raises(SourceError, match=r"kafka\.tls\.ca_file.*ca\.pem"):
        client_options(KafkaSettings(tls=TlsSettings(ca_file=missing)))


def test_an_unreadable_client_key_is_named(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_text("no certificate")
    key.write_text("no key")

    with pytest.raises(SourceError, match=r"cert_file.*cert\.pem.*key_file.*key\.pem"):
        client_options(KafkaSettings(tls=TlsSettings(cert_file=cert, key_file=key)))


def fail_to_connect() -> None:
    with explaining_failures(SECURE, "reading topic t"):
        logging.getLogger("aiokafka.client").error('Unable connect to "a:1": bad credentials')
        raise errors.KafkaConnectionError("Unable to bootstrap from [...]")


def test_a_failed_connection_says_what_to_check_and_why_it_failed() -> None:
    with pytest.raises(SourceError) as caught:
        fail_to_connect()

    message = str(caught.value)
    for part in ("reading topic t", "a:1,b:2", "SASL_SSL", "bob", "bad credentials"):
        assert part in message
    assert PASSWORD not in message


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (errors.TopicAuthorizationFailedError("t"), "grant"),
        (errors.GroupAuthorizationFailedError("g"), "consumer group"),
        (errors.ClusterAuthorizationFailedError(), "IdempotentWrite"),
        (errors.UnknownTopicOrPartitionError(), "create the topic"),
        (errors.InconsistentGroupProtocolError(), "group of its own"),
        (errors.InvalidSessionTimeoutError(), "session_timeout_ms"),
        (errors.OffsetMetadataTooLargeError(), "offset.metadata.max.bytes"),
        (errors.KafkaError("?"), "log of aiokafka"),
    ],
)
def test_each_refusal_comes_with_advice(error: errors.KafkaError, advice: str) -> None:
    message = str(explain(error, SECURE, "doing"))

    assert advice in message
    assert PASSWORD not in message


def test_the_c_extensions_are_there() -> None:
    assert has_c_extensions()


def test_without_c_extensions_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        default_records,
        "DefaultRecordBatchBuilder",
        default_records._DefaultRecordBatchBuilderPy,
    )

    warn_if_slow()

    assert "C extensions" in caplog.text
