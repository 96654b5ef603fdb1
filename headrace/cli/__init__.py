"""The ``headrace`` command, one module a subcommand."""

from headrace.cli.main import main

__all__ = ["main"]
