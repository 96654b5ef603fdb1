"""Shows a bulk job as lines of a log, for where programs gather what processes write to stderr."""

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Self

from headrace_client.bulk.job.progress.display import PLAIN_EVERY_S, Display
from headrace_client.bulk.job.progress.report import Report, as_json, as_line

log = logging.getLogger(__name__)


class LogLines:
    """A ``Display`` whose lines are log lines: progress now and then, and each change of state.

    Reports go to ``reports`` besides, if there is one.
    """

    def __init__(self, reports: Display | None = None, every_s: float = PLAIN_EVERY_S) -> None:
        self._reports = reports
        self._every_s = every_s
        self._shown_at_s = 0.0
        self._state: str | None = None
        self._waits = False

    def show(self, report: Report) -> None:
        if self._reports is not None:
            self._reports.show(report)
        is_due = report.elapsed_s - self._shown_at_s >= self._every_s
        is_news = report.state != self._state or (report.waits is not None) != self._waits
        if not is_due and not is_news:
            return
        self._shown_at_s, self._state = report.elapsed_s, report.state
        self._waits = report.waits is not None
        log.info("%s", as_line(report), extra={"event": "job_progress", **as_json(report)})

    def say(self, line: str) -> None:
        log.info("%s", line, extra={"event": "job_step"})

    def busy(self, doing: str) -> AbstractContextManager[object]:
        self.say(doing)
        return nullcontext()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        pass
