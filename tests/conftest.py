"""What every test may ask for."""

from collections.abc import Iterator

import pytest

from tests.brokers import TestBroker, describe_choice, running_test_broker

_USED_BROKER = pytest.StashKey[TestBroker]()


def pytest_report_header() -> str:
    """Name the broker before the first test runs."""
    return f"kafka tests: {describe_choice()}"


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Name the broker that was used."""
    broker = config.stash.get(_USED_BROKER, None)
    if broker is not None:
        terminalreporter.write_line(f"kafka tests ran against: {broker.description}")


@pytest.fixture(scope="session")
def kafka_broker(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[TestBroker]:
    """A real broker, started once."""
    with running_test_broker(tmp_path_factory.mktemp("broker")) as broker:
        pytestconfig.stash[_USED_BROKER] = broker
        yield broker
