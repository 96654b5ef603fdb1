"""``headrace up``: brings the service up on this machine, and shows how it fares."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live

from consumer.core.ports import SourceError
from headrace.cli.options import ConfigOption, JsonOption, read_settings
from headrace.cli.output import err, out, print_json, print_note
from headrace.cli.route_table import route_report, route_table
from headrace.lag import LagReader
from headrace.service import LocalService, ServiceError

REFRESH_S = 1.0
DATA_DIR = Path(".headrace")


def up(
    config: ConfigOption = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a second instead of the table.")
    ] = False,
    own_ray: Annotated[
        bool, typer.Option("--own-ray", help="Start a Ray of its own even where one runs.")
    ] = False,
    data_dir: Annotated[
        Path, typer.Option("--data-dir", help="Where a local broker keeps its data.")
    ] = DATA_DIR,
) -> None:
    """Start what is missing (broker, Ray, topics), deploy, and watch; Ctrl-C drains and stops."""
    settings = read_settings(config)
    service = LocalService(
        settings, data_dir=data_dir, use_ray="local" if own_ray else "auto", say=print_note
    )
    with service, _until_signal() as stop:
        if not json:
            print_note("Ctrl-C drains and stops")
        asyncio.run(_watch(service, stop, as_json=json))
    print_note("stopped")


@contextmanager
def _until_signal() -> Iterator[threading.Event]:
    """Set the event on SIGINT or SIGTERM; a second one interrupts the draining."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        # While it drains, a second signal still counts; Python's own handlers come back with exit.
        if not stop.is_set():
            for number, handler in before.items():
                signal.signal(number, handler)


async def _watch(service: LocalService, stop: threading.Event, *, as_json: bool) -> None:
    async with LagReader(service.settings) as reader:
        with Live(console=out, auto_refresh=False) if not as_json else _NoLive() as live:
            while not stop.is_set():
                report = await _report(service, reader)
                if as_json:
                    print_json(report, indent=False)
                else:
                    live.update(route_table(report, _title(report)), refresh=True)
                await asyncio.to_thread(stop.wait, REFRESH_S)


async def _report(service: LocalService, reader: LagReader) -> dict[str, Any]:
    """Return the report of this moment; what does not answer is left out and named."""
    errors = []
    lags = statuses = None
    try:
        lags = await reader.read()
    except SourceError as error:
        errors.append(str(error))
    try:
        statuses = await asyncio.to_thread(service.statuses)
    except ServiceError as error:
        errors.append(str(error))
    for status in (statuses or {}).values():
        errors += [f"{status.route}: consumer {error}" for error in status.errors]
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    return {
        "at": at,
        "bootstrap": service.settings.kafka.bootstrap,
        **route_report(service.settings, lags, statuses),
        "errors": errors,
    }


def _title(report: dict[str, Any]) -> str:
    return "\n".join([f"Kafka at {report['bootstrap']}", *report["errors"]])


class _NoLive:
    """Stands in for a live table where JSON is printed."""

    def __enter__(self) -> "_NoLive":
        return self

    def __exit__(self, *_exception: object) -> None:
        return None

    def update(self, *_arguments: object, **_options: object) -> None:
        """Show nothing."""
