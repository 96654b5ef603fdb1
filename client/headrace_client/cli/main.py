"""The command line where only the client is installed."""

from collections.abc import Iterable

import typer

from headrace_client.cli.commands import Command, group_of
from headrace_client.cli.running import run
from headrace_client.cli.versions import VersionOption

COMMANDS: tuple[Command, ...] = (
    Command(
        "bulk",
        "headrace_client.cli.bulk:bulk_app",
        "Files in, files out: embed a table, or run requests over it. Goes on where it stopped.",
    ),
    Command(
        "jobs",
        "headrace_client.cli.jobs:jobs_app",
        "Jobs: list, show, cancel, pause, resume, metrics.",
    ),
)
"""The commands that need only the client; the service's command line has them too."""


def command_line(commands: Iterable[Command], summary: str) -> typer.Typer:
    app = typer.Typer(
        name="headrace",
        help=summary,
        cls=group_of(commands),
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    return app


def _options(version: VersionOption = False) -> None:
    """Options of the command itself."""


app = command_line(COMMANDS, "Bulk jobs for Headrace: files in, files out, Kafka between.")


def main(arguments: list[str] | None = None) -> None:
    run(app, arguments, "headrace_client.cli.failures")
