"""Settings become aiokafka's arguments; its errors become advice."""

from pathlib import Path

import pytest
from aiokafka import errors

from headrace_client import Connection, KafkaError, Sasl, SettingsError, Tls
from headrace_client.kafka.connecting import (
    client_options,
    compression_type,
    explaining_failures,
    fetch_options,
)
from headrace_client.kafka.refusals import explain_refusal, is_about_record, is_too_large


def test_the_arguments_of_a_plain_connection() -> None:
    options = client_options(Connection(bootstrap="a:1,[::1]:2"))

    assert options["bootstrap_servers"] == ["a:1", "[::1]:2"]
    assert options["security_protocol"] == "PLAINTEXT"
    assert "ssl_context" not in options


def test_the_arguments_of_sasl_and_tls() -> None:
    options = client_options(
        Connection(
            bootstrap="a:1",
            tls=Tls(check_hostname=False),
            sasl=Sasl(mechanism="SCRAM-SHA-256", username="u", password="p"),
        )
    )

    assert options["security_protocol"] == "SASL_SSL"
    assert options["sasl_mechanism"] == "SCRAM-SHA-256"
    assert not options["ssl_context"].check_hostname


def test_the_arguments_of_reading_and_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZONE", "eu-west-1a")
    near = Connection(client_rack="${ZONE}", fetch_min_bytes=65_536, compression="zstd")

    assert fetch_options(near, 250) == {
        "fetch_min_bytes": 65_536,
        "fetch_max_wait_ms": 250,
        "client_rack": "eu-west-1a",
    }
    assert fetch_options(Connection(fetch_max_wait_ms=20), 250)["fetch_max_wait_ms"] == 20
    assert fetch_options(Connection()) == {"fetch_min_bytes": 1}
    assert compression_type(near) == "zstd"
    assert compression_type(Connection()) is None


def test_a_rack_that_the_environment_does_not_have_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ZONE", raising=False)
    with pytest.raises(SettingsError, match=r"kafka\.client_rack: .*ZONE"):
        fetch_options(Connection(client_rack="${ZONE}"))


def test_a_tls_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "ca.pem")
    with pytest.raises(SettingsError, match=r"kafka.tls.ca_file: cannot read"):
        client_options(Connection(tls=Tls(ca_file=missing)))
    with pytest.raises(SettingsError, match=r"kafka.tls: cannot load cert_file"):
        client_options(Connection(tls=Tls(cert_file=missing, key_file=missing)))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.KafkaConnectionError("no"), r"Check kafka.bootstrap \(a:1\)"),
        (errors.KafkaConnectionError("no"), "kafka.sasl .mechanism PLAIN, username u"),
        (errors.TopicAuthorizationFailedError("t"), "grant this user Write on the requests topic"),
        (OSError("refused"), "cannot connect: .*refused"),
    ],
)
def test_an_error_says_what_to_check(error: Exception, message: str) -> None:
    connection = Connection(
        bootstrap="a:1", sasl=Sasl(mechanism="PLAIN", username="u", password="geheim")
    )
    with pytest.raises(KafkaError, match=message) as caught, explaining_failures(connection, "x"):
        raise error

    assert "geheim" not in str(caught.value)


def test_a_refused_record_names_the_topics_setting() -> None:
    too_large = errors.MessageSizeTooLargeError()
    assert is_about_record(too_large)
    assert is_too_large(too_large)
    assert "max.message.bytes" in explain_refusal(too_large, "t", None)
    invalid = errors.for_code(87)()
    assert "cleanup.policy" in explain_refusal(invalid, "t", None)
    assert not is_about_record(errors.KafkaConnectionError())
