"""The two forms of a line on stderr: plain text, or one JSON object."""

import json
import logging
import sys
from collections.abc import Iterable
from typing import Literal

from headrace_client.clock import monotonic_s
from headrace_client.logs.handler import EventHandler, fields_of
from headrace_client.logs.learned import LEARNED
from headrace_client.logs.redacting import Redactor

Format = Literal["plain", "json"]
Level = Literal["debug", "info", "warning", "error"]
OWN_LOGGERS = ("consumer", "handoff", "headrace", "headrace_client", "schemas", "serve_models")
"""Loggers of our own code, whose level a setting sets; others write warnings and errors."""


class JsonFormatter(logging.Formatter):
    """One object a line, with the names that Ray gives in its own JSON lines."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "asctime": self.formatTime(record),
            "levelname": record.levelname,
            "message": record.getMessage(),
            "process": record.process,
            **fields_of(record),
            "timestamp_ns": int(record.created * 1e9),
        }
        return json.dumps(line, default=str)


def log_to_stderr(form: Format, level: Level, secrets: Iterable[str] = ()) -> EventHandler:
    """Have this process write its log to stderr, as the last call says.

    With ``plain`` a line is the message alone.
    """
    target = logging.StreamHandler(sys.stderr)
    target.setFormatter(JsonFormatter() if form == "json" else logging.Formatter("%(message)s"))
    handler = EventHandler(target.emit, redact=Redactor(secrets, LEARNED), monotonic_s=monotonic_s)
    root = logging.getLogger()
    for before in [each for each in root.handlers if isinstance(each, EventHandler)]:
        root.removeHandler(before)
        before.close()
    root.addHandler(handler)
    set_own_level(level.upper())
    return handler


def set_own_level(level: str | int) -> None:
    for name in OWN_LOGGERS:
        logging.getLogger(name).setLevel(level)
