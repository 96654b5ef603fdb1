"""What commands print: tables and progress for people, JSON on stdout for programs."""

import sys
from typing import Any

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
from rich.table import Column
from rich.text import Text

out = Console()
err = Console(stderr=True)


def print_error(message: str) -> None:
    """Print one problem to stderr, as it is: no markup, no wrapping."""
    err.print(Text.assemble(("error: ", "bold red"), message), soft_wrap=True, highlight=False)


def print_note(message: str) -> None:
    """Print a remark to stderr, so that stdout stays clean for programs."""
    err.print(Text(message, style="dim"), soft_wrap=True, highlight=False)


def print_json(value: Any, *, indent: bool = True) -> None:
    """Print ``value`` as JSON to stdout and flush, for programs that read line by line."""
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else 0)
    sys.stdout.write(text.decode() + "\n")
    sys.stdout.flush()


def count(number: float) -> str:
    """Return a number with thousands parted."""
    return f"{number:,.0f}"


def shorten(text: str, most_characters: int) -> str:
    """Return ``text``, or its beginning and end where it is too long."""
    if len(text) <= most_characters:
        return text
    tail = (most_characters - 1) // 2
    return f"{text[: most_characters - 1 - tail]}…{text[len(text) - tail :]}"


class RateColumn(ProgressColumn):
    """Records a second, from the field ``records`` of a task."""

    def render(self, task: Task) -> Text:
        """Return the rate since the task began."""
        elapsed_s = task.elapsed or 0.0
        records = task.fields.get("records", 0)
        rate = records / elapsed_s if elapsed_s > 0 else 0.0
        return Text(f"{count(records)} records  {count(rate)}/s")


def byte_progress() -> Progress:
    """Return a progress bar over bytes, with records a second and the time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        RateColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(),
        console=err,
    )


def record_progress() -> Progress:
    """Return a progress bar over records, with records a second and the time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
    )


def step_progress() -> Progress:
    """Return a progress bar over a few steps that take long."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
    )
