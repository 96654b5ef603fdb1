"""``headrace submit``: publishes a file of request lines."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import orjson
import typer

from headrace.cli.options import ConfigOption, JsonOption, RouteOption, choose_route, read_settings
from headrace.cli.output import byte_progress, count, print_error, print_json, print_line
from headrace.records.files import STDIN, check_lines, decompressed, open_file, read_some
from headrace.records.json_values import BrokenFileError
from headrace.records.lines import BadLine, LineCutter
from headrace.records.request_lines import RequestLines
from headrace.records.submission import MAX_LINE_BYTES, Submission, publish_lines
from schemas.settings.file import Settings


class KeyField(StrEnum):
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
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Send a file's lines as they are, whatever they be.")
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Publish each line of a file, as it is, to a route's requests topic.

    Blank lines are skipped. The file may be compressed by gzip or zstd, be in UTF-16, and hold a
    JSON array, or objects of several lines. If any of it is no JSON object, nothing is sent; of a
    pipe the rest is. What the objects say is not checked: the service answers bad ones.
    """
    settings = read_settings(config)
    _, chosen = choose_route(settings, route)
    topic = chosen.requests_topic
    key_of = key_of_line if key_field is KeyField.CUSTOM_ID else no_key
    with ExitStack() as stack:
        opened = stack.enter_context(open_file(file))
        source = opened if unchecked else stack.enter_context(decompressed(opened, file))
        is_plain_file = source is opened and file != STDIN
        size_bytes = Path(file).stat().st_size if is_plain_file else None
        # A pipe: the decompressor claims that it can seek, and cannot.
        if not unchecked and opened.seekable():
            _check(source, file, size_bytes)
        lines = LineCutter(MAX_LINE_BYTES) if unchecked else RequestLines(MAX_LINE_BYTES)
        submission = asyncio.run(_submit(settings, topic, source, lines, size_bytes, key_of))
    if json:
        print_json({"topic": topic, **submission.to_dict()})
    else:
        for problem in submission.problems:
            print_error(problem)
        refused = submission.refused_records
        also = f", {count(refused)} refused" if refused else ""
        print_line(f"{count(submission.sent_records)} records sent to {topic}{also}")
    if submission.refused_records:
        raise typer.Exit(1)


def _check(source: io.BufferedIOBase, file: str, size_bytes: int | None) -> None:
    with byte_progress() as progress:
        bar = progress.add_task("checking", total=size_bytes, records=0)
        check_lines(source, file, lambda read_bytes: progress.update(bar, completed=read_bytes))
    source.seek(0)


async def _submit(
    settings: Settings,
    topic: str,
    source: io.BufferedIOBase,
    lines: LineCutter | RequestLines,
    size_bytes: int | None,
    key_of: Callable[[bytes], bytes | None],
) -> Submission:
    with byte_progress() as progress:
        bar = progress.add_task("sending", total=size_bytes, records=0)
        submission = Submission()

        def show(read_bytes: int) -> None:
            progress.update(bar, completed=read_bytes, records=submission.sent_records)

        await publish_lines(
            settings.kafka,
            topic,
            _read_lines(source, lines, show),
            key_of=key_of,
            submission=submission,
        )
        progress.update(bar, records=submission.sent_records)
    return submission


async def _read_lines(
    source: io.BufferedIOBase, lines: LineCutter | RequestLines, show: Callable[[int], None]
) -> AsyncIterator[bytes | BadLine]:
    """Read lines, never the whole file; an idle pipe does not block the producer."""
    read_bytes = 0
    try:
        while data := await asyncio.to_thread(read_some, source):
            read_bytes += len(data)
            for line in lines.feed(data):
                yield line
            show(read_bytes)
        for line in lines.finish():
            yield line
    except BrokenFileError as error:
        yield BadLine(error.number, f"{error.reason}; what comes after was not read")


def key_of_line(line: bytes) -> bytes | None:
    try:
        request = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    custom_id = request.get("custom_id") if isinstance(request, dict) else None
    return custom_id.encode() if isinstance(custom_id, str) and custom_id else None


def no_key(_line: bytes) -> None:
    """Return no key."""
