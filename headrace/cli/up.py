"""``headrace up``: starts the service on this machine, and shows its state."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Group
from rich.live import Live

from consumer.engine.waiting.waits import LastingWaits
from consumer.kafka.admin.group_lags import GroupLags
from consumer.ports import SourceError
from consumer.replica.reports import RouteStatus
from handoff.clock import SystemClock
from headrace.cli.logs import Saying
from headrace.cli.options import ConfigOption, read_settings
from headrace.cli.output import err, out, print_error, print_json
from headrace.cli.route_table import route_report, route_view, waits_view
from headrace.errors import ServiceError, UserError
from headrace.preflight.findings import errors_of
from headrace.preflight.looking import look
from headrace.preflight.table import findings_table
from headrace.service.health import complaints
from headrace.status.asking import Asking
from headrace.status.health_file import HealthFile
from headrace.status.lag import read_lags
from headrace.status.open_transactions import OpenTransactionLines
from headrace.status.partition_lag import PartitionLag
from schemas.settings.file import Settings

if TYPE_CHECKING:
    from headrace.service.service import LocalService

REFRESH_S = 1.0
_SILENT = (
    "Ray did not answer, so nothing of the service was stopped: it goes on where it runs. Once the "
    "cluster's head is back, `headrace up` joins it again"
)
_STAYS = "the service goes on after Ctrl-C: whoever started it stops it, or `serve shutdown`"
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
    look_first: Annotated[
        bool,
        typer.Option(
            "--look/--no-look",
            help="First look at GPUs, weights, vLLM's arguments and brokers, as `check --deep`.",
        ),
    ] = True,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            "--metrics-port",
            min=1,
            max=65_535,
            help="Where Prometheus finds the metrics of a Ray that is started here. A Ray that "
            "runs has its own: `ray start --metrics-export-port`.",
        ),
    ] = None,
    health_file: Annotated[
        Path | None,
        typer.Option(
            "--health-file",
            help="Write there each second what is wrong, nothing if all is well, for a "
            "container's health check.",
        ),
    ] = None,
) -> None:
    """Start what is missing (broker, Ray, topics), deploy, and watch; Ctrl-C drains and stops.

    A service that runs already is changed into what the settings say, and nothing else of it; it
    goes on after Ctrl-C.
    """
    # Ray takes a second or two to import, and the other commands do not need it.
    from headrace.service.service import LocalService  # noqa: PLC0415 - see above

    settings = read_settings(config)
    saying = Saying(settings)
    if look_first:
        _look_first(settings, own_ray=own_ray, say=saying.step)
    service = LocalService(
        settings,
        data_dir=data_dir,
        use_ray="local" if own_ray else "auto",
        say=saying.step,
        show_plan=saying.plan,
        metrics_port=metrics_port,
    )
    health = None if health_file is None else HealthFile(health_file)
    with service, _until_signal() as stop:
        if (console := service.console()) is not None:
            saying.step(console)
        saying.started(_STAYS if service.is_joined else "Ctrl-C drains and stops")
        if json:
            show = partial(print_json, indent=False)
            is_silent = asyncio.run(_watch(service, stop, show, health))
        else:
            with Live(console=out, auto_refresh=False) as live:
                is_silent = asyncio.run(
                    _watch(service, stop, lambda report: _show(live, report), health)
                )
        if is_silent:
            service.leave_ray()
    if is_silent:
        print_error(_SILENT)
        _leave(1)
    saying.stopped(_STAYS if service.is_joined else "stopped")


def _look_first(settings: Settings, *, own_ray: bool, say: Callable[[str], None]) -> None:
    """Show what is not as it should be; raise ``UserError`` if the service could not start."""
    with err.status("looking at what the service needs"):
        findings = look(settings, use_ray="local" if own_ray else "auto")
    wrong = [each for each in findings if each.level != "ok"]
    if not wrong:
        return
    if not (errors := errors_of(wrong)):
        for finding in wrong:
            say(f"Warning: {finding}")
        return
    err.print(findings_table(wrong))
    first = errors[0]
    more = f" (and {len(errors) - 1} more, above)" if len(errors) > 1 else ""
    raise UserError(f"{first}{more}. Nothing was started; --no-look starts it all the same")


def _leave(status: int) -> NoReturn:
    """End the process at once: Ray's own end would wait for a node that is gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


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
    service: "LocalService",
    stop: threading.Event,
    show: Callable[[dict[str, Any]], None],
    health: HealthFile | None,
) -> bool:
    """Show reports until ``stop``; return whether Ray has fallen silent."""
    blocked = _Blocked(service.settings)
    asking = Asking(lambda: _ask(service))
    async with GroupLags(service.settings.kafka) as group_lags:
        while not stop.is_set():
            show(await _report(service, asking, group_lags, blocked, health))
            await asyncio.to_thread(stop.wait, REFRESH_S)
    return asking.is_silent


class _Blocked:
    def __init__(self, settings: Settings) -> None:
        self._clock = SystemClock()
        self._open_transactions = OpenTransactionLines(settings, self._clock)
        self._lasting = {name: LastingWaits() for name in settings.routes}

    async def by(self, lags: Mapping[str, list[PartitionLag]]) -> dict[str, list[str]]:
        lines = await self._open_transactions.of(lags)
        now_s = self._clock.monotonic()
        return {name: each.of(lines.get(name, []), now_s) for name, each in self._lasting.items()}


_Answer = tuple[dict[str, str], dict[str, RouteStatus] | None, str]


def _ask(service: "LocalService") -> _Answer:
    """Return the lines on deployments, the statuses or ``None``, and why there are none."""
    # First: where replicas are missing, the board may be one of them.
    deployments = service.deployments()
    try:
        return deployments, service.statuses(), ""
    except ServiceError as error:
        return deployments, None, str(error)


async def _report(
    service: "LocalService",
    asking: Asking[_Answer],
    group_lags: GroupLags,
    blocked: _Blocked,
    health: HealthFile | None,
) -> dict[str, Any]:
    """Return the report of this moment; what does not answer is left out and named."""
    errors = []
    lags = statuses = None
    open_transactions: dict[str, list[str]] = {}
    deployments: dict[str, str] = {}
    try:
        lags = await read_lags(group_lags, service.settings)
        open_transactions = await blocked.by(lags)
    except SourceError as error:
        errors.append(str(error))
    try:
        deployments, statuses, why_not = await asking.answer()
        errors += [why_not] if why_not else []
    except ServiceError as error:
        errors.append(str(error))
    if health is not None:
        health.write(complaints(service.settings.routes, statuses or {}))
    for status in (statuses or {}).values():
        errors += [f"{status.route}: consumer {error}" for error in status.errors]
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    return {
        "at": at,
        "bootstrap": service.settings.kafka.bootstrap,
        **route_report(service.settings, lags, statuses, open_transactions),
        "deployments": deployments,
        "errors": errors,
    }


def _show(live: Live, report: dict[str, Any]) -> None:
    title = "\n".join([f"Kafka at {report['bootstrap']}", *report["errors"]])
    view = Group(route_view(report, out.width, title), waits_view(report))
    live.update(view, refresh=True)
