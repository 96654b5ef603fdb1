"""``headrace top``: shows routes, models and jobs live."""

import os
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live

from handoff.clock import Clock, SystemClock
from headrace.cli.options import ConfigOption, JsonOption, read_settings
from headrace.cli.output import err, out, print_json, print_note
from headrace.cli.top.keys import QUITS, Keys
from headrace.cli.top.screen import frame
from headrace.errors import ServiceError
from headrace.overview.snapshot import Overview
from headrace_client.registry.tables import duration
from schemas.settings.file import Settings

Take = Callable[[], Overview]
_LOOK_S = 0.2


def top(
    config: ConfigOption = None,
    once: Annotated[bool, typer.Option("--once", help="Print one frame, and end.")] = False,
    json: JsonOption = False,
    interval_s: Annotated[
        float, typer.Option("--interval-s", min=0.5, help="Seconds between two frames.")
    ] = 2.0,
) -> None:
    """Show what the service does now: routes, models and jobs; q leaves.

    What stands still comes first, with what it waits for. With --json one line of JSON an interval.
    """
    settings = read_settings(config)
    with err.status("asking the service"):
        taking = _Taking(_source(settings), SystemClock())
    try:
        if json:
            _print_lines(taking, interval_s, once=once)
        elif once or not out.is_terminal:
            _print_frame(out, taking.now())
        else:
            _show(taking, interval_s)
    except KeyboardInterrupt:
        pass
    finally:
        taking.end()


def _source(settings: Settings) -> tuple[Take, Callable[[], None]]:
    """Return what takes an overview, and what is to be called at the end.

    The overview is the service's; where none runs, what Kafka alone says.
    """
    # Ray takes a second or two to import, and the other commands do not need it.
    import ray  # noqa: PLC0415 - see above

    from headrace.overview.client import read_overview  # noqa: PLC0415 - see above
    from headrace.service.joining import NO_CLUSTER, join_ray  # noqa: PLC0415 - see above

    try:
        if join_ray():
            return read_overview, ray.shutdown
        why = NO_CLUSTER
    except ServiceError as error:
        why = str(error)
    from headrace.overview.local import take_overview  # noqa: PLC0415 - as above

    return lambda: take_overview(settings, why, SystemClock()), lambda: None


class _Taking:
    """Takes overviews in a thread: a Ray that does not answer must hold up no key."""

    def __init__(self, source: tuple[Take, Callable[[], None]], clock: Clock) -> None:
        self._take, self._end = source
        self._thread: threading.Thread | None = None
        self._clock = clock
        self._taken_at_s = clock.monotonic()
        self.overview: Overview | None = None
        self._problem = ""

    @property
    def is_busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def begin(self) -> None:
        if not self.is_busy:
            self._thread = threading.Thread(target=self._run, name="take-overview", daemon=True)
            self._thread.start()

    def now(self) -> Overview:
        """Take one and wait for it; raises ``ServiceError`` without an answer."""
        return self._take()

    def trouble(self, interval_s: float) -> str:
        """Return why the latest overview is not of this moment; empty if it is."""
        late_s = self._clock.monotonic() - self._taken_at_s
        if self._problem:
            return f"no answer for {duration(late_s)}: {self._problem}"
        if late_s > interval_s + 5.0:
            return f"no answer for {duration(late_s)}"
        return ""

    def end(self) -> None:
        if self.is_busy:
            # Ray's own end would wait for the answer that does not come.
            sys.stdout.flush()
            os._exit(0)
        self._end()

    def _run(self) -> None:
        try:
            self.overview = self._take()
            self._problem = ""
            self._taken_at_s = self._clock.monotonic()
        except ServiceError as error:
            self._problem = str(error)
        except Exception as error:  # noqa: BLE001 - shown, and tried again
            self._problem = repr(error)


def _print_lines(taking: _Taking, interval_s: float, *, once: bool) -> None:
    while True:
        try:
            print_json(taking.now().to_dict(), indent=False)
        except ServiceError as error:
            if once:
                raise
            # A reader of lines gets no half of one.
            print_note(str(error))
        if once:
            return
        threading.Event().wait(interval_s)


def _print_frame(console: Console, overview: Overview) -> None:
    zone = datetime.now().astimezone().tzinfo or UTC
    for line in frame(overview, console.width, zone=zone):
        console.print(line, no_wrap=True, overflow="ellipsis", highlight=False)


def _show(taking: _Taking, interval_s: float) -> None:
    keys, clock = Keys(), SystemClock()
    zone = datetime.now().astimezone().tzinfo or UTC
    with (
        keys.listening(),
        Live(console=out, screen=True, auto_refresh=False, vertical_overflow="crop") as live,
    ):
        next_at_s = clock.monotonic()
        shown: tuple[object, ...] = ()
        while True:
            if clock.monotonic() >= next_at_s:
                next_at_s = clock.monotonic() + interval_s
                taking.begin()
            size, trouble = out.size, taking.trouble(interval_s)
            now = (taking.overview, size, trouble)
            if taking.overview is not None and now != shown:
                lines = frame(taking.overview, size.width, size.height, zone=zone, trouble=trouble)
                live.update(Group(*lines), refresh=True)
                shown = now
            elif taking.overview is None and trouble and now != shown:
                live.update(trouble, refresh=True)
                shown = now
            if QUITS.intersection(keys.pressed(_LOOK_S)):
                return
