"""Logs of replicas and of Serve's controller: through Ray Serve's own handlers.

So a line of ours goes where Serve's lines go (its log files, and stderr), in the form and from the
level on that the deployment's ``logging_config`` sets; a change of it needs no restart. Serve
writes the files as JSON if told so, and stderr as text in any case; here stderr follows the files.
"""

import logging
import logging.handlers
import os
from collections.abc import Iterable, Mapping
from typing import Any
from weakref import WeakSet

from handoff.clock import SystemClock
from headrace_client.logs.forms import set_own_level
from headrace_client.logs.handler import EventHandler, clean_in_place
from headrace_client.logs.learned import LEARNED
from headrace_client.logs.redacting import Redactor, secrets_of_environment
from schemas.settings.live import changed_keys

SERVE_LOGGER = "ray.serve"


class ServeHandler(EventHandler):
    """Passes lines on to Serve's handlers, and keeps secrets out of Serve's own lines too."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__(self._to_serve, redact=redact, monotonic_s=SystemClock().monotonic)
        self._redacting = _Redacting(redact)
        self._serve = logging.getLogger(SERVE_LOGGER)
        self._followed: list[logging.Handler] = []

    def follow_serve(self) -> None:
        """Take over Serve's form and level, which it may have changed."""
        if self._serve.handlers == self._followed:
            return
        self._followed = list(self._serve.handlers)
        set_own_level(self._serve.getEffectiveLevel())
        files = [
            each for each in self._followed if isinstance(each, logging.handlers.MemoryHandler)
        ]
        for each in self._followed:
            if self._redacting not in each.filters:
                each.addFilter(self._redacting)
            if files and isinstance(each, logging.StreamHandler):
                _write_like(each, files[0])

    def _to_serve(self, record: logging.LogRecord) -> None:
        self.follow_serve()
        if self._serve.hasHandlers():
            self._serve.handle(record)


class _Redacting(logging.Filter):
    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact
        # Serve's handlers get the same record, one after the other.
        self._clean: WeakSet[logging.LogRecord] = WeakSet()

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "logger") and record not in self._clean:  # ours are clean
            clean_in_place(record, self._redact)
            self._clean.add(record)
        return True


def _write_like(stream: logging.StreamHandler, file: logging.handlers.MemoryHandler) -> None:  # type: ignore[type-arg]
    """Give stderr the form of the file, if that is JSON, and the fields that Serve adds."""
    formatter = None if file.target is None else file.target.formatter
    if type(formatter).__name__ != "JSONFormatter":
        return
    stream.setFormatter(formatter)
    for each in file.filters:
        if each not in stream.filters:
            stream.addFilter(each)


_handler: ServeHandler | None = None


def log_through_serve(secrets: Iterable[str] = ()) -> None:
    """Have this process log through Serve, without ``secrets`` and those of its environment.

    Does nothing in a process that Serve has given no log: a test, a benchmark.
    """
    global _handler  # noqa: PLW0603 - a process has one log
    handlers = logging.getLogger(SERVE_LOGGER).handlers
    if not any(isinstance(each, logging.handlers.MemoryHandler) for each in handlers):
        return
    root = logging.getLogger()
    if _handler is not None:
        root.removeHandler(_handler)
    known = (*secrets, *secrets_of_environment(os.environ))
    _handler = ServeHandler(Redactor(known, LEARNED))
    root.addHandler(_handler)
    _handler.follow_serve()


def look_after_logs() -> None:
    """Follow a change of Serve's settings, and report what was left out; call this now and then."""
    if _handler is not None:
        _handler.follow_serve()
        _handler.report_left_out()


def log_change(
    log: logging.Logger, before: Mapping[str, Any], after: Mapping[str, Any], **about: str
) -> None:
    """Log which settings of a running replica have changed; by name, as values may be long."""
    if keys := changed_keys(before, after):
        log.info(
            "goes on with other settings: %s",
            ", ".join(keys),
            extra={"event": "settings_changed", "keys": keys, **about},
        )
