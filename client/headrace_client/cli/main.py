"""The command line where only the client is installed."""

import typer

from headrace_client.cli.bulk import bulk_app

app = typer.Typer(
    name="headrace",
    help="Bulk jobs for Headrace: files in, files out, Kafka between.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def add_commands(app: typer.Typer) -> None:
    """Add the commands that need only the client; the service's command line has them too."""
    app.add_typer(bulk_app, name="bulk")


add_commands(app)


def main(arguments: list[str] | None = None) -> None:
    import sys
    from headrace_client.errors import ClientError
    try:
        _main(arguments)
    except ClientError as e:
        print("error:", e, file=sys.stderr); sys.exit(2)


def _main(arguments: list[str] | None = None) -> None:
    app(args=arguments, prog_name="headrace")
