"""Local brokers for laptops and tests: ``with start_broker(kind, data_dir=...) as broker``."""

from pathlib import Path
from typing import Literal, assert_never

from headrace.brokers.docker import is_docker_available, start_docker
from headrace.brokers.embedded import start_embedded
from headrace.brokers.kafka_home import start_kafka_home
from headrace.brokers.running import BrokerStartError, RunningBroker

BrokerKind = Literal["embedded", "kafka-home", "docker"]

__all__ = [
    "BrokerKind",
    "BrokerStartError",
    "RunningBroker",
    "is_docker_available",
    "start_broker",
]


def start_broker(kind: BrokerKind, *, data_dir: Path, port: int = 0) -> RunningBroker:
    """Start a broker on this machine and return when it answers.

    Call it from a thread that lives as long as the broker shall: on Linux the broker dies with it,
    so that nothing is left behind when the parent is killed.

    Args:
        kind: Which broker, as ``kafka.broker`` of the settings file.
        data_dir: Where it keeps its data and ``broker.log``; created where missing. Started again
            there, it has its old topics and records.
        port: TCP port on 127.0.0.1; 0 picks a free one.

    Raises:
        BrokerStartError: It did not come up; the message says why and what to do.
    """
    match kind:
        case "embedded":
            return start_embedded(data_dir=data_dir, port=port)
        case "kafka-home":
            return start_kafka_home(data_dir=data_dir, port=port)
        case "docker":
            return start_docker(data_dir=data_dir, port=port)
    assert_never(kind)
