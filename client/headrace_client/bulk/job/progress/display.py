"""Shows reports: a bar on a terminal, JSON for programs, plain lines where neither is."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Protocol, Self, TextIO

import orjson
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from headrace_client.bulk.job.progress.report import Report, as_json, as_line, duration

PLAIN_EVERY_S = 10.0


class Display(Protocol):
    """Shows what a job says; a context manager, because a bar must be taken down again."""

    def show(self, report: Report) -> None: ...

    def say(self, line: str) -> None:
        """Show a remark for a person."""

    def busy(self, doing: str) -> AbstractContextManager[object]:
        """Show that something lasts, before there are reports."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class _Remarks:
    """Remarks as lines on stderr."""

    def __init__(self, err: TextIO | None = None) -> None:
        self._err = err or sys.stderr

    def say(self, line: str) -> None:
        self._err.write(line + "\n")
        self._err.flush()

    def busy(self, doing: str) -> AbstractContextManager[object]:
        self.say(doing)
        return nullcontext()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        pass


class JsonLines(_Remarks):
    """Prints one JSON object for each report to stdout; remarks go to stderr."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        super().__init__(err)
        self._out = out or sys.stdout

    def show(self, report: Report) -> None:
        self._out.write(orjson.dumps(as_json(report)).decode() + "\n")
        self._out.flush()


class PlainLines(_Remarks):
    """Prints a line now and then, and at once when what the job waits for changes."""

    def __init__(self, err: TextIO | None = None, every_s: float = PLAIN_EVERY_S) -> None:
        super().__init__(err)
        self._every_s = every_s
        self._shown_at_s = 0.0
        self._waited_for: str | None = None

    def show(self, report: Report) -> None:
        waits_for = _kind_of_wait(report.waits)
        is_due = report.elapsed_s - self._shown_at_s >= self._every_s
        if not is_due and waits_for == self._waited_for:
            return
        self._shown_at_s = report.elapsed_s
        self._waited_for = waits_for
        self.say(as_line(report))


class Bar:
    """A bar on a terminal, with what the job waits for below it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            BarColumn(),
            _Words(_rows),
            _Words(_rates),
            _Words(_failures),
            _Words(_time_left),
            console=console,
            auto_refresh=False,
        )
        self._bar = self._progress.add_task("starting", total=None, report=None)
        self._waits = Text()
        self._live = Live(
            Group(self._progress, self._waits),
            console=console,
            transient=True,
            refresh_per_second=4,
        )

    def show(self, report: Report) -> None:
        total, done = report.rows_total, report.rows_done
        if total is None and report.share_read and report.rows_read:
            total = max(done, round(report.rows_read / report.share_read))
        self._progress.update(
            self._bar, description=report.state, total=total, completed=done, report=report
        )
        self._waits.plain = report.waits or ""
        self._waits.stylize("yellow")

    def say(self, line: str) -> None:
        self._console.print(Text(line, style="dim"), soft_wrap=True, highlight=False)

    def busy(self, doing: str) -> AbstractContextManager[object]:
        return self._console.status(doing)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._live.stop()


class _Words(ProgressColumn):
    """A column whose words come from the report."""

    max_refresh = 0.5

    def __init__(self, words: Callable[[Report], str]) -> None:
        super().__init__(table_column=Column(no_wrap=True))
        self._words = words

    def render(self, task: Task) -> Text:
        report = task.fields.get("report")
        return Text("" if report is None else self._words(report))


def _rows(report: Report) -> str:
    if report.rows_total is None:
        return f"{report.rows_done:,} rows"
    return f"{report.rows_done:,}/{report.rows_total:,} rows"


def _rates(report: Report) -> str:
    tokens = f"  {report.tokens_per_s:,.0f} tokens/s" if report.tokens_per_s else ""
    return f"{report.rows_per_s:,.0f}/s{tokens}"


def _failures(report: Report) -> str:
    return f"{report.rows_failed:,} failed" if report.rows_failed else ""


def _time_left(report: Report) -> str:
    return "" if report.eta_s is None else f"{duration(report.eta_s)} left"


def _kind_of_wait(waits: str | None) -> str | None:
    """Return the wait without its numbers, which change every second."""
    return None if waits is None else "".join(each for each in waits if not each.isdigit())


def choose_display(*, as_json: bool) -> Display:
    if as_json:
        return JsonLines()
    console = Console(stderr=True)
    return Bar(console) if console.is_terminal else PlainLines()
