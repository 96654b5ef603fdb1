"""Commands that are imported when they are used, so that help and completion answer at once."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a command line.

    Attributes:
        name: What the user types.
        target: ``MODULE:NAME`` of a function, or of a ``typer.Typer`` with commands of its own.
        summary: The first line of its help, shown without an import.
    """

    name: str
    target: str
    summary: str


def group_of(commands: Iterable[Command]) -> type[TyperGroup]:
    """Return a class of groups that have these commands, for ``typer.Typer(cls=...)``."""
    listed = {each.name: each for each in commands}

    class CommandsOnDemand(TyperGroup):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            for name, command in listed.items():
                self.add_command(_Deferred(command), name)

    return CommandsOnDemand


def load(command: Command) -> Any:
    """Import a command, and return what runs it."""
    module, _, name = command.target.partition(":")
    target = getattr(import_module(module), name)
    parent = typer.Typer(add_completion=False)
    # Without it a parent of one function is that function.
    parent.callback()(_nothing)
    if isinstance(target, typer.Typer):
        parent.add_typer(target, name=command.name)
    else:
        parent.command(command.name)(target)
    group: Any = typer.main.get_command(parent)
    return group.commands[command.name]


class _Deferred(TyperCommand):
    """Stands for a command in lists, and becomes it when it is called or completed."""

    def __init__(self, command: Command) -> None:
        super().__init__(command.name, help=command.summary)
        self._command = command

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        return load(self._command).make_context(info_name, args, parent=parent, **extra)


def _nothing() -> None:
    pass
