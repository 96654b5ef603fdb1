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

    On Linux the broker dies with the thread that starts it, so that a killed parent leaves none.

    Args:
        kind: As ``kafka.broker`` of the settings file.
        data_dir: Where it keeps its data and ``broker.log``. A second start finds the old records.
        port: TCP port on 127.0.0.1; 0 picks a free one.

    Raises:
        BrokerStartError: The broker did not start; the message says why and what to do.
    """
    match kind:
        case "embedded":
            return start_embedded(data_dir=data_dir, port=port)
        case "kafka-home":
            return start_kafka_home(data_dir=data_dir, port=port)
        case "docker":
            return start_docker(data_dir=data_dir, port=port)
    assert_never(kind)
