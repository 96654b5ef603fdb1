"""Shows how far weights have come: a bar on a terminal, else a line every ten seconds."""

import threading
from types import TracebackType
from typing import Self

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from handoff.clock import AwakeClock, Clock
from headrace.cli.output import err, print_note

LINE_PERIOD_S = 10.0


class TransferDisplay:
    """Shows one pull after another (``serve_models.weights.fetching.request.Progress``)."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or AwakeClock()
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=err,
            disable=not err.is_terminal,
            transient=True,
        )
        self._bar: TaskID | None = None
        self._title = ""
        self._lines = TransferLines("", 0, 0.0)
        # Bytes come from several threads.
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def show(self, title: str) -> None:
        """Say whose weights come next."""
        self._title = title
        self._lines = TransferLines(title, 0, self._clock.monotonic())
        if self._bar is not None:
            self._bars.remove_task(self._bar)
        self._bar = self._bars.add_task(title, total=None)

    def begin(self, total_bytes: int) -> None:
        self._lines = TransferLines(self._title, total_bytes, self._clock.monotonic())
        if self._bar is not None:
            self._bars.update(self._bar, total=total_bytes, completed=0)

    def advance(self, count_bytes: int) -> None:
        if self._bar is not None:
            self._bars.advance(self._bar, count_bytes)
        with self._lock:
            line = self._lines.advance(count_bytes, self._clock.monotonic())
        if line is not None and not err.is_terminal:
            print_note(line)

    def note(self, line: str) -> None:
        if self._bar is not None:
            self._bars.update(self._bar, description=f"{self._title}: {line}")
        if not err.is_terminal:
            print_note(f"{self._title}: {line}")


class TransferLines:
    """Decides when a line is due, and writes it. Pure."""

    def __init__(self, title: str, total_bytes: int, now: float) -> None:
        self._title = title
        self._total_bytes = total_bytes
        self._came_bytes = 0
        self._last = (now, 0)

    def advance(self, count_bytes: int, now: float) -> str | None:
        """Return the line that is due, with the rate since the last one."""
        self._came_bytes += count_bytes
        since, had_bytes = self._last
        passed_s = now - since
        if passed_s < LINE_PERIOD_S:
            return None
        rate = (self._came_bytes - had_bytes) / passed_s
        self._last = (now, self._came_bytes)
        left_bytes = max(0, self._total_bytes - self._came_bytes)
        left = f", {describe_s(left_bytes / rate)} left" if rate > 0 else ""
        return (
            f"{self._title}: {describe_bytes(self._came_bytes)} of "
            f"{describe_bytes(self._total_bytes)}, {describe_bytes(rate)}/s{left}"
        )


def describe_bytes(count: float) -> str:
    """Return a number of bytes in the largest unit that it fills."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} GiB"


def describe_s(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
