"""Local brokers: they start, keep their data, and say what is wrong."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from headrace.brokers import BrokerStartError, start_broker
from headrace.brokers.docker import container_environment
from headrace.brokers.kafka_home import (
    BrokerOptions,
    ExtraListener,
    broker_properties,
    start_kafka_home,
)
from headrace.brokers.process import BrokerProcess
from headrace.brokers.readiness import answers_metadata, free_port


def port_of(bootstrap: str) -> int:
    return int(bootstrap.rpartition(":")[2])


@pytest.mark.kafka
def test_the_embedded_broker_starts_stops_and_warns(tmp_path: Path) -> None:
    with start_broker("embedded", data_dir=tmp_path / "data") as broker:
        assert broker.is_alive()
        assert answers_metadata("127.0.0.1", port_of(broker.bootstrap))
        assert not broker.durable
        assert "trying out only" in broker.description
    assert not broker.is_alive()
    broker.stop()


@pytest.mark.kafka
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a Linux kernel's promise")
def test_a_broker_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from headrace.brokers import start_broker

        broker = start_broker("embedded", data_dir=Path(sys.argv[1]))
        print(broker.process_id, flush=True)
        sys.stdin.read()
        """
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    broker_id = int(parent.stdout.readline())
    with parent, parent.stdin:
        watch = os.pidfd_open(broker_id)
        parent.send_signal(signal.SIGKILL)
    try:
        assert ended(watch)
    finally:
        os.close(watch)


def ended(process_fd: int) -> bool:
    """Wait for the end of a process that is not our child."""
    import select  # noqa: PLC0415 - not on every platform in this form

    return bool(select.select([process_fd], [], [], 10.0)[0])


def test_without_kafka_home_it_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KAFKA_HOME", raising=False)

    with pytest.raises(BrokerStartError, match="KAFKA_HOME is not set"):
        start_broker("kafka-home", data_dir=tmp_path)


def test_a_folder_that_is_no_kafka_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_HOME", str(tmp_path))

    with pytest.raises(BrokerStartError, match=r"holds no libs/kafka\*\.jar"):
        start_broker("kafka-home", data_dir=tmp_path)


def test_without_docker_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(BrokerStartError, match="no Docker engine answers"):
        start_broker("docker", data_dir=tmp_path)


@pytest.mark.kafka
def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with start_broker("embedded", data_dir=tmp_path / "first") as first:
        port = port_of(first.bootstrap)
        with pytest.raises(BrokerStartError, match=rf"127\.0\.0\.1:{port}.*kafka\.bootstrap"):
            start_broker("embedded", data_dir=tmp_path / "second", port=port)


def test_a_broker_that_ends_shows_the_end_of_its_log(tmp_path: Path) -> None:
    program = "print('first'); print('\\tat some.java.frame'); print('out of cheese')"
    process = BrokerProcess([sys.executable, "-c", program], log_file=tmp_path / "broker.log")

    with pytest.raises(BrokerStartError) as caught:
        process.wait_ready("127.0.0.1", free_port(), timeout_s=30)

    assert "status 0" in str(caught.value)
    assert str(caught.value).endswith("broker.log:\nfirst\nout of cheese")


def test_a_broker_that_never_answers_is_ended(tmp_path: Path) -> None:
    program = "import threading; threading.Event().wait(60)"
    process = BrokerProcess([sys.executable, "-c", program], log_file=tmp_path / "broker.log")

    with pytest.raises(BrokerStartError, match="did not answer"):
        process.wait_ready("127.0.0.1", free_port(), timeout_s=0.3)

    assert not process.is_alive()


def test_a_program_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(BrokerStartError, match="cannot run no-such-program"):
        BrokerProcess(["no-such-program"], log_file=tmp_path / "broker.log")


@pytest.mark.kafka
@pytest.mark.skipif(not os.environ.get("KAFKA_HOME"), reason="set KAFKA_HOME")
def test_a_kafka_that_cannot_start_shows_why(tmp_path: Path) -> None:
    options = BrokerOptions(properties={"log.retention.ms": "soon"})

    with pytest.raises(BrokerStartError, match=r"log\.retention\.ms"):
        start_kafka_home(data_dir=tmp_path, options=options)


def test_a_port_that_nothing_listens_on_is_not_ready() -> None:
    assert not answers_metadata("127.0.0.1", free_port(), timeout_s=0.2)


def test_every_listener_is_advertised_with_its_protocol() -> None:
    properties = broker_properties(
        port=1,
        controller_port=2,
        log_dir=Path("data"),
        extra_listeners=[ExtraListener(name="SECURE", protocol="SASL_SSL", port=3)],
    )

    assert properties["listeners"] == (
        "PLAINTEXT://127.0.0.1:1,SECURE://127.0.0.1:3,CONTROLLER://127.0.0.1:2"
    )
    assert properties["advertised.listeners"] == "PLAINTEXT://127.0.0.1:1,SECURE://127.0.0.1:3"
    assert "SECURE:SASL_SSL" in properties["listener.security.protocol.map"]


def test_a_container_is_told_the_port_that_clients_use() -> None:
    environment = container_environment(12345)

    assert environment["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://127.0.0.1:12345"
    assert environment["KAFKA_LISTENERS"].startswith("PLAINTEXT://0.0.0.0:12345,")
