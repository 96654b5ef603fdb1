"""``headrace jobs``: lists jobs, and tells their runners."""

import asyncio
import socket
import sys
from dataclasses import asdict
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from headrace_client.cli.completion import complete_job, complete_route
from headrace_client.cli.options import ConfigOption, JsonOption
from headrace_client.clock import epoch_ms
from headrace_client.registry import telling
from headrace_client.registry.announcements import Action
from headrace_client.registry.announcing import user_name
from headrace_client.registry.exposition import exposition
from headrace_client.registry.standing import JobStanding
from headrace_client.registry.tables import COLUMNS, lines, row
from headrace_client.settings import ClientSettings, load_settings

_FOLDED = ("job", "state")

jobs_app = typer.Typer(
    help="Jobs: list, show, cancel, pause, resume, metrics.", no_args_is_help=True
)

BootstrapOption = Annotated[
    str | None,
    typer.Option("--bootstrap", help="The brokers, in place of kafka.bootstrap: HOST:PORT."),
]
JobArgument = Annotated[
    str,
    typer.Argument(help="The job's name.", show_default=False, autocompletion=complete_job),
]
RouteOption = Annotated[
    str | None,
    typer.Option(
        "--route",
        "-r",
        help="The job's route, where nobody announced it.",
        autocompletion=complete_route,
    ),
]


@jobs_app.callback()
def jobs() -> None:
    """Jobs: list, show, cancel, pause, resume, metrics."""


@jobs_app.command("list")
def list_jobs(
    all_jobs: Annotated[bool, typer.Option("--all", "-a", help="Finished ones too.")] = False,
    json: JsonOption = False,
    bootstrap: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """List the jobs that are not finished, those that began last first."""
    settings = _settings(config, bootstrap)
    registry, now_ms = asyncio.run(telling.read_jobs(settings)), epoch_ms()
    found = [each for each in registry.jobs() if not each.is_forgotten(now_ms)]
    shown = [each for each in found if all_jobs or not each.announcement.is_finished]
    if json:
        _print_json([to_dict(each, now_ms) for each in shown])
        return
    if shown:
        Console().print(table(shown, now_ms))
    else:
        finished = f"; {len(found)} finished: see --all" if found else ""
        _note(f"no job runs{finished}")


@jobs_app.command("metrics")
def metrics(bootstrap: BootstrapOption = None, config: ConfigOption = None) -> None:
    """Print the jobs that are not finished in Prometheus' text format.

    For the textfile collector of node_exporter, for example.
    """
    registry = asyncio.run(telling.read_jobs(_settings(config, bootstrap)))
    sys.stdout.write(exposition(registry.jobs(), epoch_ms()))


@jobs_app.command("show")
def show(
    job: JobArgument,
    json: JsonOption = False,
    bootstrap: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """Show all that a job's runner says of it, and what the job waits for."""
    settings = _settings(config, bootstrap)
    standing = telling.standing_of(asyncio.run(telling.read_jobs(settings)), job)
    now_ms = epoch_ms()
    if json:
        _print_json(to_dict(standing, now_ms))
        return
    Console().print(details(standing, now_ms, datetime.now().astimezone().tzinfo or UTC))


@jobs_app.command("cancel")
def cancel(
    job: JobArgument,
    route: RouteOption = None,
    json: JsonOption = False,
    bootstrap: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """Cancel a job: its runner ends, and what is published of it is not computed.

    The second needs the route's control_topic, and works where the runner is dead, or nobody
    announced the job.
    """
    told = asyncio.run(telling.cancel(_settings(config, bootstrap), job, route, by=_by()))
    _report(job, told, json=json)


@jobs_app.command("pause")
def pause(
    job: JobArgument,
    json: JsonOption = False,
    bootstrap: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """Have a job's runner send nothing more for now; what is published is still answered."""
    settings = _settings(config, bootstrap)
    told = asyncio.run(telling.tell(settings, job, Action.PAUSE, by=_by()))
    _report(job, told, json=json)


@jobs_app.command("resume")
def resume(
    job: JobArgument,
    json: JsonOption = False,
    bootstrap: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """Have a paused job's runner go on."""
    settings = _settings(config, bootstrap)
    told = asyncio.run(telling.tell(settings, job, Action.RESUME, by=_by()))
    _report(job, told, json=json)


def to_dict(standing: JobStanding, now_ms: int) -> dict[str, Any]:
    command = standing.command
    return {
        **asdict(standing.announcement),
        "silent_since_ms": standing.silent_since_ms(now_ms),
        "command": None if command is None else asdict(command),
    }


def table(standings: list[JobStanding], now_ms: int) -> Table:
    found = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for name in COLUMNS:
        found.add_column(name, overflow="fold", no_wrap=name not in _FOLDED)
    for each in standings:
        found.add_row(*row(each, now_ms))
    return found


def details(standing: JobStanding, now_ms: int, zone: tzinfo) -> Table:
    found = Table(box=None, show_header=False, pad_edge=False)
    found.add_column(style="dim", no_wrap=True)
    found.add_column(overflow="fold")
    for name, value in lines(standing, now_ms, zone):
        found.add_row(name, value)
    return found


def _by() -> str:
    return f"{user_name()}@{socket.gethostname()}"


def _report(job: str, told: list[str], *, json: bool) -> None:
    if json:
        _print_json({"job": job, "told": told})
        return
    for each in told:
        Console().print(f"job {job}: {each}", soft_wrap=True, highlight=False, markup=False)


def _settings(config: Path | None, bootstrap: str | None) -> ClientSettings:
    return load_settings(config, needs_file=bootstrap is None).with_bootstrap(bootstrap)


def _note(text: str) -> None:
    Console(stderr=True).print(text, soft_wrap=True, highlight=False, markup=False)


def _print_json(value: Any) -> None:
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")
