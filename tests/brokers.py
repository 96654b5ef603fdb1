"""The real broker of the tests: the first available of four kinds; the report says which."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from headrace.brokers import BrokerKind, is_docker_available, start_broker

BOOTSTRAP_VARIABLE = "HEADRACE_TEST_BOOTSTRAP"


def kafka_home_needed(reason: str) -> list[pytest.MarkDecorator]:
    """Return the marks of tests that start an Apache Kafka themselves; ``reason`` says what for."""
    return [
        pytest.mark.kafka,
        pytest.mark.skipif(
            not os.environ.get("KAFKA_HOME"),
            reason=f"{reason}: set KAFKA_HOME to an unpacked Apache Kafka",
        ),
    ]


@dataclass(frozen=True)
class TestBroker:
    """A broker to test against."""

    __test__ = False

    kind: str
    bootstrap: str
    description: str

    @property
    def is_apache_kafka(self) -> bool:
        """Whether it keeps all of Kafka's promises; the embedded broker does not."""
        return self.kind != "embedded"


def choose_broker() -> BrokerKind | None:
    """Return the kind of broker to start; ``None`` if one is given from outside."""
    if os.environ.get(BOOTSTRAP_VARIABLE):
        return None
    if is_docker_available():
        return "docker"
    if os.environ.get("KAFKA_HOME"):
        return "kafka-home"
    return "embedded"


def describe_choice() -> str:
    """Say which broker will be used, and why."""
    kind = choose_broker()
    if kind is None:
        return f"{os.environ[BOOTSTRAP_VARIABLE]} ({BOOTSTRAP_VARIABLE})"
    reasons = {
        "docker": "a container, as a Docker engine answers",
        "kafka-home": "Apache Kafka of KAFKA_HOME, as no Docker engine answers",
        "embedded": "the embedded broker, as there is no Docker engine and no KAFKA_HOME",
    }
    return reasons[kind]


@contextmanager
def running_test_broker(data_dir: Path) -> Iterator[TestBroker]:
    """Start the chosen broker, or use the given one."""
    kind = choose_broker()
    if kind is None:
        yield TestBroker("external", os.environ[BOOTSTRAP_VARIABLE], describe_choice())
        return
    with start_broker(kind, data_dir=data_dir) as broker:
        yield TestBroker(broker.kind, broker.bootstrap, broker.description)
