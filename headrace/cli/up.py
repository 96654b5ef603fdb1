"""``headrace up``: brings the service up on this machine, and shows how it fares."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.live import Live

from consumer.core.ports import SourceError
from consumer.kafka.admin import TopicAdmin
from headrace.cli.options import ConfigOption, read_settings
from headrace.cli.output import out, print_json, print_note
from headrace.cli.route_table import route_report, route_view
from headrace.errors import ServiceError
from headrace.lag import read_lags

if TYPE_CHECKING:
    from headrace.service import LocalService

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
    # Ray takes a second or two to import, and the other commands do without it.
    from headrace.service import LocalService  # noqa: PLC0415 - see above

    settings = read_settings(config)
    service = LocalService(
        settings, data_dir=data_dir, use_ray="local" if own_ray else "auto", say=print_note
    )
    with service, _until_signal() as stop:
        if json:
            asyncio.run(_watch(service, stop, lambda report: print_json(report, indent=False)))
        else:
            print_note("Ctrl-C drains and stops")
            with Live(console=out, auto_refresh=False) as live:
                asyncio.run(_watch(service, stop, lambda report: _show(live, report)))
    print_note("stopped")


@contextmanager
def _until_signal() -> Iterator[threading.Event]:
    """Set the event on SIGINT or SIGTERM; a second one interrupts the draining."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {
        number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        # While it drains, a second signal still counts; Python's own handlers come back with exit.
        if not stop.is_set():
            for number, handler in before.items():
                signal.signal(number, handler)


async def _watch(
    service: "LocalService", stop: threading.Event, show: Callable[[dict[str, Any]], None]
) -> None:
    async with TopicAdmin(service.settings.kafka) as admin:
        while not stop.is_set():
            show(await _report(service, admin))
            await asyncio.to_thread(stop.wait, REFRESH_S)


async def _report(service: "LocalService", admin: TopicAdmin) -> dict[str, Any]:
    """Return the report of this moment; what does not answer is left out and named."""
    errors = []
    lags = statuses = None
    try:
        lags = await read_lags(admin, service.settings)
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


def _show(live: Live, report: dict[str, Any]) -> None:
    title = "\n".join([f"Kafka at {report['bootstrap']}", *report["errors"]])
    live.update(route_view(report, out.width, title), refresh=True)
