"""The ``headrace`` command: bulk jobs here, and the service's commands where it is installed."""

import sys
from importlib import import_module
from importlib.metadata import entry_points

SERVICE_COMMANDS = "headrace.commands"
"""The group of entry points in which the service's distribution names its command line."""


def main() -> None:
    for command_line in entry_points(group=SERVICE_COMMANDS):
        command_line.load()()
        return
    try:
        command_line_of_client = import_module("headrace_client.cli.main")
    except ImportError as error:
        sys.exit(f"headrace: the command needs {error.name}: pip install 'headrace-client[bulk]'")
    command_line_of_client.main()
