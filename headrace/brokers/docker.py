"""Runs Apache Kafka in a container, through the docker command."""

import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

from headrace.brokers.readiness import answers_metadata, choose_port
from headrace.brokers.running import BrokerStartError, RunningBroker

IMAGE = "apache/kafka:4.3.1"
PULL_AND_START_TIMEOUT_S = 300.0
START_TIMEOUT_S = 60.0
_COMMAND_TIMEOUT_S = 30.0


def is_docker_available() -> bool:
    if shutil.which("docker") is None:
        return False
    try:
        done = _docker("version", "--format", "{{.Server.Version}}", timeout_s=5.0)
    except BrokerStartError:
        return False
    return done.returncode == 0


def start_docker(*, data_dir: Path, port: int = 0, image: str | None = None) -> RunningBroker:
    """Start a one-node Kafka container; its data is in a volume named after ``data_dir``.

    If ``image`` is unset, ``$HEADRACE_KAFKA_IMAGE`` or else Apache's own image is used. Raises
    ``BrokerStartError`` if no Docker engine answers, or the broker did not start.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    port = choose_port(port)
    if not is_docker_available():
        raise BrokerStartError(
            "no Docker engine answers: start Docker, or set kafka.broker to kafka-home, embedded "
            "or external"
        )
    log_file = data_dir / "broker.log"
    suffix = hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:12]
    name = f"headrace-kafka-{suffix}-{port}"
    environment = container_environment(port)
    options = [option for key, value in environment.items() for option in ("-e", f"{key}={value}")]
    started = _docker(
        "run",
        "--detach",
        "--name",
        name,
        "--publish",
        f"127.0.0.1:{port}:{port}",
        "--volume",
        f"headrace-kafka-{suffix}:/var/lib/kafka/data",
        *options,
        image or os.environ.get("HEADRACE_KAFKA_IMAGE", IMAGE),
        timeout_s=PULL_AND_START_TIMEOUT_S,
    )
    if started.returncode != 0:
        raise BrokerStartError(f"docker run failed: {started.stderr.strip()}")

    def remove(signal_option: str) -> None:
        log_file.write_text(_docker("logs", "--tail", "500", name).stdout)
        _docker("kill" if signal_option == "KILL" else "stop", name)
        _docker("rm", "--force", name)

    def is_alive() -> bool:
        return _docker("inspect", "-f", "{{.State.Running}}", name).stdout.strip() == "true"

    give_up_at = time.monotonic() + START_TIMEOUT_S  # noqa: TID251 - waits for a real process
    while not answers_metadata("127.0.0.1", port):
        if time.monotonic() > give_up_at or not is_alive():  # noqa: TID251 - as above
            tail = _docker("logs", "--tail", "40", name)
            remove("KILL")
            raise BrokerStartError(
                f"the container {name} did not answer at 127.0.0.1:{port}.\n"
                f"The end of its log:\n{tail.stdout}{tail.stderr}"
            )
    return RunningBroker(
        kind="docker",
        bootstrap=f"127.0.0.1:{port}",
        durable=True,
        description=f"Apache Kafka in the container {name}",
        log_file=log_file,
        process_id=None,
        stop=lambda: remove("TERM"),
        kill=lambda: remove("KILL"),
        is_alive=is_alive,
    )


def container_environment(port: int) -> dict[str, str]:
    return {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": f"PLAINTEXT://0.0.0.0:{port},CONTROLLER://localhost:29093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:29093",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_LOG_DIRS": "/var/lib/kafka/data",
    }


def _docker(
    *arguments: str, timeout_s: float = _COMMAND_TIMEOUT_S
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - the command is ours
            ["docker", *arguments],  # noqa: S607 - docker is found on PATH, as its users expect
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BrokerStartError(f"docker {arguments[0]} failed: {error}") from error
