"""Runs Apache Kafka from an unpacked distribution at ``$KAFKA_HOME``: one KRaft node."""

import os
import shutil
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headrace.brokers.process import BrokerProcess
from headrace.brokers.readiness import choose_port, free_port
from headrace.brokers.running import BrokerStartError, RunningBroker

START_TIMEOUT_S = 120.0
FORMAT_TIMEOUT_S = 120.0
DEFAULT_HEAP = "-Xms256m -Xmx768m"

LOG4J2 = """\
rootLogger.level = WARN
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d] %p %m (%c)%n
"""


@dataclass(frozen=True, kw_only=True)
class ExtraListener:
    """Another listener of the broker on 127.0.0.1: ``SECURE``, ``SASL_SSL``, its port."""

    name: str
    protocol: str
    port: int


@dataclass(frozen=True, kw_only=True)
class BrokerOptions:
    """What a broker for a test may need beyond a plain one.

    SCRAM users are created when the storage is formatted, in the form of Kafka's StorageTool:
    ``SCRAM-SHA-256=[name=bob,password=...]``.
    """

    properties: Mapping[str, str] = field(default_factory=dict)
    extra_listeners: Sequence[ExtraListener] = ()
    scram_credentials: Sequence[str] = field(default=(), repr=False)


PLAIN = BrokerOptions()


def start_kafka_home(
    *,
    data_dir: Path,
    port: int = 0,
    kafka_home: Path | None = None,
    options: BrokerOptions = PLAIN,
) -> RunningBroker:
    """Start one KRaft node on 127.0.0.1; broker and controller in one process.

    A ``data_dir`` that was used before keeps its topics and records. ``kafka_home`` is
    ``$KAFKA_HOME`` if unset. Raises ``BrokerStartError`` if Kafka or Java is missing, or the broker
    did not start.
    """
    home = _find_home(kafka_home)
    data_dir.mkdir(parents=True, exist_ok=True)
    port = choose_port(port)
    configuration = data_dir / "server.properties"
    settings = broker_properties(
        port=port,
        controller_port=free_port(),
        log_dir=data_dir / "kafka",
        extra_listeners=options.extra_listeners,
    ) | dict(options.properties)
    configuration.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    log4j2 = data_dir / "log4j2.properties"
    log4j2.write_text(LOG4J2)
    java = [_find_java(), *_heap(), f"-Dlog4j2.configurationFile={log4j2}", "-cp", f"{home}/libs/*"]
    if not (data_dir / "kafka" / "meta.properties").exists():
        _format_storage(java, configuration, options.scram_credentials)
    process = BrokerProcess(
        [*java, "kafka.Kafka", str(configuration)], log_file=data_dir / "broker.log"
    )
    process.wait_ready("127.0.0.1", port, START_TIMEOUT_S)
    return RunningBroker(
        kind="kafka-home",
        bootstrap=f"127.0.0.1:{port}",
        durable=True,
        description=f"Apache Kafka {_version(home)} from KAFKA_HOME",
        log_file=process.log_file,
        process_id=process.process_id,
        stop=process.stop,
        kill=process.kill,
        is_alive=process.is_alive,
    )


def broker_properties(
    *,
    port: int,
    controller_port: int,
    log_dir: Path,
    extra_listeners: Sequence[ExtraListener] = (),
) -> dict[str, str]:
    listeners = [("PLAINTEXT", "PLAINTEXT", port)]
    listeners += [(extra.name, extra.protocol, extra.port) for extra in extra_listeners]
    urls = [f"{name}://127.0.0.1:{number}" for name, _, number in listeners]
    protocols = [f"{name}:{protocol}" for name, protocol, _ in listeners]
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        # A static quorum: its port may differ from one start to the next.
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": ",".join([*urls, f"CONTROLLER://127.0.0.1:{controller_port}"]),
        "advertised.listeners": ",".join(urls),
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": ",".join([*protocols, "CONTROLLER:PLAINTEXT"]),
        "log.dirs": str(log_dir),
        "num.partitions": "4",
        "offsets.topic.num.partitions": "4",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        # After a kill the node can register again only when its old session has expired.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
    }


def _find_home(kafka_home: Path | None) -> Path:
    value = str(kafka_home) if kafka_home is not None else os.environ.get("KAFKA_HOME", "")
    if not value:
        raise BrokerStartError(
            "KAFKA_HOME is not set: point it at an unpacked Apache Kafka (the folder that holds "
            "libs/), or set kafka.broker to embedded, docker or external"
        )
    home = Path(value)
    if not any((home / "libs").glob("kafka*.jar")):
        raise BrokerStartError(
            f"KAFKA_HOME={home} holds no libs/kafka*.jar: point it at an unpacked Apache Kafka"
        )
    return home.resolve()


def _find_java() -> str:
    java_home = os.environ.get("JAVA_HOME")
    java = str(Path(java_home) / "bin" / "java") if java_home else shutil.which("java")
    if java is None or not Path(java).exists():
        raise BrokerStartError(
            "no java found: install Java 17 or newer and put it on PATH or in JAVA_HOME"
        )
    return java


def _heap() -> list[str]:
    return os.environ.get("KAFKA_HEAP_OPTS", DEFAULT_HEAP).split()


def _format_storage(
    java: Sequence[str], configuration: Path, scram_credentials: Sequence[str]
) -> None:
    cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    # Kafka's tools read an argument with a leading dash as an option.
    cluster_id = cluster_id.replace("-", "A", 1) if cluster_id.startswith("-") else cluster_id
    # It runs for a second: compiling it well would take longer than it saves.
    quick = [java[0], "-XX:TieredStopAtLevel=1", *java[1:]]
    command = [*quick, "kafka.tools.StorageTool", "format", "-t", cluster_id]
    command += ["-c", str(configuration)]
    for credential in scram_credentials:
        command += ["--add-scram", credential]
    done = subprocess.run(  # noqa: S603 - the command is ours
        command, capture_output=True, text=True, timeout=FORMAT_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        output = (done.stdout + done.stderr).strip()
        raise BrokerStartError(f"Kafka could not format its storage: {output[-2000:]}")


def _version(home: Path) -> str:
    for jar in sorted((home / "libs").glob("kafka-clients-*.jar")):
        return jar.stem.removeprefix("kafka-clients-")
    return "(unknown version)"
