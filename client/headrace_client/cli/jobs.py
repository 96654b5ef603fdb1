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
from headrace_client.errors import ClientError, MissingTopicError
from headrace_client.registry.announcements import Action, Command
from headrace_client.registry.announcing import user_name
from headrace_client.registry.commanding import publish_cancellation, publish_command
from headrace_client.registry.exposition import exposition
from headrace_client.registry.listing import forget, read_registry, wait_for_end
from headrace_client.registry.standing import JobStanding, Registry
from headrace_client.registry.tables import COLUMNS, duration, lines, row
from headrace_client.settings import ClientSettings, load_settings
from headrace_client.wire.requests import cancel_job

RUNNER_ENDS_WITHIN_S = 20.0
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
    registry, now_ms = asyncio.run(_read(settings)), epoch_ms()
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
    registry = asyncio.run(_read(_settings(config, bootstrap)))
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
    standing = _of(asyncio.run(_read(settings)), job)
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
    told = asyncio.run(_cancel(_settings(config, bootstrap), job, route))
    _report(job, told, json=json)


@jobs_app.command("pause")
def pause(
    job: JobArgument,
    json: JsonOption = False,
    bootstrap: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """Have a job's runner send nothing more for now; what is published is still answered."""
    told = asyncio.run(_tell(_settings(config, bootstrap), job, Action.PAUSE))
    _report(job, told, json=json)


@jobs_app.command("resume")
def resume(
    job: JobArgument,
    json: JsonOption = False,
    bootstrap: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """Have a paused job's runner go on."""
    told = asyncio.run(_tell(_settings(config, bootstrap), job, Action.RESUME))
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


async def _read(settings: ClientSettings) -> Registry:
    registry = await read_registry(settings.connection, settings.jobs_topic)
    await forget(settings.connection, settings.jobs_topic, registry.keys_to_forget(epoch_ms()))
    return registry


async def _tell(settings: ClientSettings, job: str, action: Action) -> list[str]:
    standing = _of(await _read(settings), job)
    _check_unfinished(standing)
    await publish_command(settings.connection, settings.jobs_topic, _command(job, action))
    return [_told(standing, action)]


async def _cancel(settings: ClientSettings, job: str, route: str | None) -> list[str]:
    standing = await _find(settings, job)
    name, control_topic = _control_of(settings, standing, route)
    if standing is None and control_topic is None:
        raise ClientError(
            f"no runner has announced job {job}, and route {name} has no control_topic: name a "
            "topic there, run `headrace topics create`, and start the service again"
        )
    told = []
    if standing is not None:
        _check_unfinished(standing)
        command = _command(job, Action.CANCEL)
        await publish_command(settings.connection, settings.jobs_topic, command)
        told.append(_told(standing, Action.CANCEL))
    if control_topic is None or name is None:
        told.append(
            "its route has no control_topic: what is published of the job is still computed"
        )
        return told
    cancellation = cancel_job(name, job)
    await publish_cancellation(settings.connection, control_topic, cancellation)
    told.append(f"route {name}: what is published of the job is not computed")
    if standing is not None and standing.silent_since_ms(epoch_ms()) is None:
        # A cancellation covers what was published before it, and the runner may not have heard yet.
        ended = await wait_for_end(
            settings.connection, settings.jobs_topic, job, RUNNER_ENDS_WITHIN_S
        )
        await publish_cancellation(settings.connection, control_topic, cancellation)
        told.append("its runner has ended" if ended else "its runner has not ended yet")
    return told


async def _find(settings: ClientSettings, job: str) -> JobStanding | None:
    try:
        return (await _read(settings)).job(job)
    except MissingTopicError:
        return None


def _control_of(
    settings: ClientSettings, standing: JobStanding | None, route: str | None
) -> tuple[str | None, str | None]:
    """Return the job's route and its control topic, by its runner's word or the settings file."""
    announced = None if standing is None else standing.announcement
    name = route or (None if announced is None else announced.route)
    if announced is not None and announced.topics.control is not None and route is None:
        return name, announced.topics.control
    if announced is not None and name not in settings.routes:
        return name, None
    found = settings.routes.find(None, route=name)
    return found.name, found.control_topic


def _of(registry: Registry, job: str) -> JobStanding:
    standing = registry.job(job)
    if standing is not None:
        return standing
    names = [each.announcement.job for each in registry.jobs()]
    known = f"; there are {', '.join(names[:10])}" if names else ""
    raise ClientError(f"no runner has announced job {job}{known}")


def _check_unfinished(standing: JobStanding) -> None:
    job = standing.announcement
    if job.is_finished:
        raise ClientError(f"job {job.job} is {job.state} already")


def _command(job: str, action: Action) -> Command:
    by = f"{user_name()}@{socket.gethostname()}"
    return Command(job=job, action=action, at_ms=epoch_ms(), by=by)


def _told(standing: JobStanding, action: Action) -> str:
    now_ms = epoch_ms()
    since_ms = standing.silent_since_ms(now_ms)
    if since_ms is not None:
        silent = duration((now_ms - since_ms) / 1000)
        return f"its runner has been silent for {silent}: it hears `{action}` when it starts again"
    if standing.announcement.state == "interrupted":
        return f"its runner has stopped: it hears `{action}` when it starts again"
    return f"its runner hears `{action}` within seconds"


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
