"""Runs a command line: errors become messages and exit statuses."""

import logging
from importlib import import_module

import typer

EXIT_COULD_NOT_RUN = 2
EXIT_INTERRUPTED = 130


def run(app: typer.Typer, arguments: list[str] | None, failures: str) -> None:
    """Run a command line; exits with its status, 2 if it could not run, 130 if interrupted.

    ``failures`` is a module with ``explain(error) -> list[str] | None``: what to print of an error
    that is the user's to mend. It knows the errors of every command, so it is imported late.
    """
    # aiokafka logs each failed attempt; the error that we print has the last one.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    try:
        app(args=arguments, prog_name="headrace")
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None
    except Exception as error:
        lines = import_module(failures).explain(error)
        if lines is None:
            raise
        import_module("headrace_client.cli.failures").print_errors(lines)
        raise SystemExit(EXIT_COULD_NOT_RUN) from None
