"""``headrace submit``: publishes a file of request lines."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from enum import StrEnum
from io import BufferedReader
from pathlib import Path
from typing import Annotated, BinaryIO

import orjson
import typer

from headrace.cli.options import ConfigOption, JsonOption, RouteOption, choose_route, read_settings
from headrace.cli.output import byte_progress, count, out, print_error, print_json
from headrace.errors import UserError
from headrace.lines import LineCutter, LongLine
from headrace.submission import MAX_LINE_BYTES, Submission, publish_lines
from schemas.settings import Settings

READ_BYTES = 1024 * 1024
STDIN = "-"


class KeyField(StrEnum):
    """Where a record's key comes from."""

    CUSTOM_ID = "custom_id"
    """The line's custom_id; no key where the line has none."""
    NONE = "none"
    """No key: records are spread over the partitions."""


def submit(
    file: Annotated[str, typer.Argument(help="A file of OpenAI Batch input lines; - is stdin.")],
    route: RouteOption = None,
    key_field: Annotated[
        KeyField, typer.Option("--key-field", help="What becomes the record's key.")
    ] = KeyField.CUSTOM_ID,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Publish each line of a file, as it is, to a route's requests topic.

    Blank lines are skipped. Lines are not checked: the service answers bad ones, or puts them
    among the dead letters.
    """
    settings = read_settings(config)
    _, chosen = choose_route(settings, route)
    with ExitStack() as stack:
        if file == STDIN:
            source, size_bytes = sys.stdin.buffer, None
        else:
            path = Path(file)
            try:
                source = stack.enter_context(path.open("rb"))
            except OSError as error:
                raise UserError(f"{file}: cannot be read ({error.strerror})") from None
            size_bytes = path.stat().st_size
        submission = asyncio.run(
            _submit(settings, chosen.requests_topic, source, size_bytes, key_field)
        )
    if json:
        print_json({"topic": chosen.requests_topic, **submission.to_dict()})
    else:
        for problem in submission.problems:
            print_error(problem)
        out.print(
            f"{count(submission.sent_records)} records sent to {chosen.requests_topic}"
            + (f", {count(submission.refused_records)} refused" * bool(submission.refused_records)),
            highlight=False,
        )
    if submission.refused_records:
        raise typer.Exit(1)


async def _submit(
    settings: Settings, topic: str, source: BinaryIO, size_bytes: int | None, key_field: KeyField
) -> Submission:
    with byte_progress() as progress:
        bar = progress.add_task("sending", total=size_bytes, records=0)
        submission = Submission()

        def show(read_bytes: int) -> None:
            progress.update(bar, completed=read_bytes, records=submission.sent_records)

        await publish_lines(
            settings.kafka,
            topic,
            _read_lines(source, show),
            key_of=key_of_line if key_field is KeyField.CUSTOM_ID else no_key,
            submission=submission,
        )
        progress.update(bar, records=submission.sent_records)
    return submission


async def _read_lines(
    source: BinaryIO, show: Callable[[int], None]
) -> AsyncIterator[bytes | LongLine]:
    """Read lines without ever holding the file, nor blocking the producer while a pipe is idle."""
    cutter = LineCutter(MAX_LINE_BYTES)
    read_bytes = 0
    while data := await asyncio.to_thread(_read_some, source):
        read_bytes += len(data)
        for line in cutter.feed(data):
            yield line
        show(read_bytes)
    for line in cutter.finish():
        yield line


def _read_some(source: BinaryIO) -> bytes:
    """Return what is there, up to ``READ_BYTES``: a pipe must not have to fill a block first."""
    if isinstance(source, BufferedReader):
        return source.read1(READ_BYTES)
    return source.read(READ_BYTES)


def key_of_line(line: bytes) -> bytes | None:
    """Return the line's custom_id as the record's key, or none where it has none."""
    try:
        request = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    custom_id = request.get("custom_id") if isinstance(request, dict) else None
    return custom_id.encode() if isinstance(custom_id, str) and custom_id else None


def no_key(_line: bytes) -> None:
    """Return no key."""
