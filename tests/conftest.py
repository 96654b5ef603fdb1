"""Fixtures and settings of all tests."""

import atexit
import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.brokers import TestBroker, describe_choice, running_test_broker
from tests.hangs import pytest_timeout_set_timer

__all__ = ["pytest_timeout_set_timer"]

# A handle that outlives its Ray fails, and does not start another one in the background.
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"

# Properties are judged by what they find, not by how fast a busy machine finds it.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

_USED_BROKER = pytest.StashKey[TestBroker]()
_EXIT_STATUS = pytest.StashKey[int]()


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


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Keep the verdict for ``pytest_unconfigure``."""
    session.config.stash[_EXIT_STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End with the tests' verdict; if Ray was used, skip Python's own shutdown.

    Native threads of Ray and vLLM outlive their shutdown. One of them crashed the interpreter
    during its shutdown, after the last test had passed.
    """
    if "ray" not in sys.modules or _EXIT_STATUS not in config.stash:
        return
    atexit._run_exitfuncs()
    config.get_terminal_writer().flush()
    os._exit(config.stash[_EXIT_STATUS])


@pytest.fixture(scope="session")
def kafka_broker(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[TestBroker]:
    """A real broker, started once."""
    with running_test_broker(tmp_path_factory.mktemp("broker")) as broker:
        pytestconfig.stash[_USED_BROKER] = broker
        yield broker
