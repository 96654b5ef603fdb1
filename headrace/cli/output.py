"""Prints for commands: tables and progress for people, JSON on stdout for programs."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import orjson
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

from headrace.errors import UserError

out = Console()
err = Console(stderr=True)


def print_line(text: str) -> None:
    """Print one line to stdout unchanged: no markup, no wrapping."""
    out.print(text, soft_wrap=True, highlight=False, markup=False)


def print_error(message: str) -> None:
    err.print(Text.assemble(("error: ", "bold red"), message), soft_wrap=True, highlight=False)


def print_note(message: str) -> None:
    """Print a remark to stderr, so that stdout has only output for programs."""
    err.print(Text(message, style="dim"), soft_wrap=True, highlight=False)


def print_json(value: Any, *, indent: bool = True) -> None:
    """Print ``value`` as JSON to stdout and flush, for programs that read line by line."""
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else 0)
    sys.stdout.write(text.decode() + "\n")
    sys.stdout.flush()


def open_output(path: Path) -> BinaryIO:
    """Open the file of ``--output``; ``UserError`` if it cannot be written."""
    try:
        return path.open("wb")
    except OSError as error:
        raise UserError(f"--output: {path}: {error.strerror}") from None


def print_table(
    *columns: str, rows: Iterable[Sequence[str | Text]], title: str | None = None
) -> None:
    """Print a table to stdout whose cells are folded, never cut."""
    table = Table(*(Column(name, overflow="fold") for name in columns), title=title)
    for row in rows:
        table.add_row(*row)
    out.print(table)


def count(number: float) -> str:
    return f"{number:,.0f}"


def shorten(text: str, most_characters: int) -> str:
    if len(text) <= most_characters:
        return text
    tail = (most_characters - 1) // 2
    return f"{text[: most_characters - 1 - tail]}…{text[len(text) - tail :]}"


def printable(text: str, *, keeps_lines: bool = False) -> str:
    """Return what a producer wrote without terminal control characters."""
    return "".join(c if c.isprintable() or (keeps_lines and c == "\n") else "·" for c in text)


class RateColumn(ProgressColumn):
    """Records per second since the task began, from its field ``records``."""

    def render(self, task: Task) -> Text:
        elapsed_s = task.elapsed or 0.0
        records = task.fields.get("records", 0)
        rate = records / elapsed_s if elapsed_s > 0 else 0.0
        return Text(f"{count(records)} records  {count(rate)}/s")


def progress_bar(*columns: ProgressColumn, **options: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *columns,
        TimeRemainingColumn(),
        console=err,
        **options,  # type: ignore[arg-type] # all of them flags
    )


def byte_progress() -> Progress:
    return progress_bar(DownloadColumn(), RateColumn(table_column=Column(no_wrap=True)))


def record_progress() -> Progress:
    rate = RateColumn(table_column=Column(no_wrap=True))
    return progress_bar(MofNCompleteColumn(), rate, TimeElapsedColumn())


def step_progress() -> Progress:
    return progress_bar(MofNCompleteColumn(), TimeElapsedColumn())
