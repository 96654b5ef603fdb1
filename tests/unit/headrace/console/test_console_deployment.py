"""The console's replica logs as the others do: what somebody did, and no secret."""

import logging
import logging.handlers
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest

import handoff.logs as serve_logs
from headrace.console import deployment
from headrace.console.deployment import Console
from headrace.console.sources.letters import MOST_BATCH_BYTES
from headrace_client.logs.forms import OWN_LOGGERS
from schemas.settings.console import ConsoleSettings
from schemas.settings.file import KafkaSettings


@pytest.fixture
def serves_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[StringIO]:
    logger, root = logging.getLogger("ray.serve"), logging.getLogger()
    before = (logger.handlers, logger.level, logger.propagate, list(root.handlers))
    levels = {name: logging.getLogger(name).level for name in OWN_LOGGERS}
    written = StringIO()
    logger.handlers = [
        logging.handlers.MemoryHandler(capacity=1, target=logging.StreamHandler(written))
    ]
    logger.setLevel("INFO")
    logger.propagate = False
    monkeypatch.setattr(serve_logs, "_handler", None)
    yield written
    logger.handlers, logger.propagate = before[0], before[2]
    logger.setLevel(before[1])
    root.handlers = before[3]
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def cluster(password: str) -> KafkaSettings:
    return KafkaSettings.model_validate(
        {
            "bootstrap": "127.0.0.1:1",
            "sasl": {"mechanism": "SCRAM-SHA-512", "username": "u", "password": password},
        }
    )


async def test_actions_are_logged_and_secrets_of_both_clusters_are_not(
    serves_log: StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacks_to: list[int] = []

    class Unpacking:
        def __init__(self, limit_bytes: int) -> None:
            self.limit_bytes = limit_bytes

        def install(self) -> None:
            unpacks_to.append(self.limit_bytes)

    monkeypatch.setattr(deployment, "Unpacking", Unpacking)
    # Serve awaits it; here nobody does.
    monkeypatch.delattr(Console, "__del__")
    status: Any = None
    console = Console(
        console=ConsoleSettings(port=0),
        kafka=cluster("hunter2-of-requests"),
        jobs_topic="jobs",
        status=status,
        results=cluster("hunter2-of-results"),
    )
    await console.check_health()
    logging.getLogger("headrace.console.web.acting").info(
        "console: 127.0.0.1 acts with %s and %s",
        "hunter2-of-requests",
        "hunter2-of-results",
        extra={"event": "console_acts"},
    )

    assert "console: 127.0.0.1 acts with ********** and **********" in serves_log.getvalue()
    assert unpacks_to == [MOST_BATCH_BYTES]
