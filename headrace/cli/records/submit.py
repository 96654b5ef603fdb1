"""``headrace submit``: publishes a file of request lines, and may wait for the results."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import orjson
import typer

from handoff.clock import SystemClock
from headrace.cli.options import ConfigOption, JsonOption, RouteOption, choose_route, read_settings
from headrace.cli.output import byte_progress, count, print_error, print_json, print_line
from headrace.cli.records.waiting import Waiting
from headrace.errors import UserError
from headrace.records.files import STDIN, check_lines, decompressed, open_file, read_some
from headrace.records.json_values import BrokenFileError
from headrace.records.lines import BadLine, LineCutter
from headrace.records.request_headers import request_headers
from headrace.records.request_lines import RequestLines
from headrace.records.submission import MAX_LINE_BYTES, Submission, publish_lines
from headrace_client.moments import moment_after
from headrace_client.wire.names import Place
from schemas.settings.file import KafkaSettings
from schemas.wire.headers import Headers


class KeyField(StrEnum):
    CUSTOM_ID = "custom_id"
    """The line's custom_id; no key where the line has none."""
    NONE = "none"
    """No key: records are spread over the partitions."""


def submit(  # noqa: PLR0913, PLR0917 - its options
    file: Annotated[str, typer.Argument(help="A file of OpenAI Batch input lines; - is stdin.")],
    route: RouteOption = None,
    job: Annotated[
        str | None, typer.Option("--job", help="A name for all of it, to cancel or read it by.")
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(
            "--deadline", help="When results are of no use any more: 5m, 2h, or 2030-01-31T18:00."
        ),
    ] = None,
    weight: Annotated[
        int | None,
        typer.Option(
            "--weight", min=1, max=100, help="The job's share, beside others of the route."
        ),
    ] = None,
    reply_topic: Annotated[
        str | None, typer.Option("--reply-topic", help="The topic that the results go to.")
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", "-H", help="NAME=VALUE; may be given repeatedly."),
    ] = None,
    key_field: Annotated[
        KeyField, typer.Option("--key-field", help="What becomes the record's key.")
    ] = KeyField.CUSTOM_ID,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Send a file's lines as they are, whatever they be.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", "-w", help="Wait until each record has its result.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="With --wait: a file to write the result lines to."),
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Publish each line of a file, as it is, to a route's requests topic.

    Blank lines are skipped. The file may be compressed by gzip or zstd, be in UTF-16, and hold a
    JSON array, or objects of several lines. If any of it is no JSON object, nothing is sent; of a
    pipe the rest is. What the objects say is not checked: the service answers bad ones.

    With --wait the exit status is 1 if any record was refused or failed.
    """
    settings = read_settings(config)
    name, chosen = choose_route(settings, route)
    if output is not None and not wait:
        raise UserError("--output: is for --wait; `headrace results --output` reads without it")
    clock = SystemClock()
    headers = request_headers(
        job=job,
        deadline_ms=None if deadline is None else _moment(deadline, clock.epoch_ms()),
        weight=weight,
        reply_topic=reply_topic,
        others=header or (),
    )
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
        request = _Request(settings.kafka, topic, key_of, headers)
        waiting = None
        if wait:
            topics = [chosen.results_topic, chosen.dead_letters_topic]
            topics += [] if reply_topic is None else [reply_topic]
            waiting = stack.enter_context(
                Waiting(settings.results_cluster, name, topics, output=output, clock=clock)
            )
        submission = asyncio.run(_submit(request, source, lines, size_bytes, waiting))
    report = submission.to_dict() if waiting is None else {**submission.to_dict(), **waiting.report}
    if json:
        print_json({"topic": topic, **report})
    else:
        for problem in submission.problems:
            print_error(problem)
        refused = submission.refused_records
        also = f", {count(refused)} refused" if refused else ""
        print_line(f"{count(submission.sent_records)} records sent to {topic}{also}")
        if waiting is not None:
            waiting.print_summary()
    if submission.refused_records or (waiting is not None and waiting.failed_records):
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Request:
    kafka: KafkaSettings
    topic: str
    key_of: Callable[[bytes], bytes | None]
    headers: Headers


def _moment(text: str, now_ms: int) -> int:
    try:
        return moment_after(text, now_ms)
    except ValueError as error:
        raise UserError(f"--deadline: {error}") from None


def _check(source: io.BufferedIOBase, file: str, size_bytes: int | None) -> None:
    with byte_progress() as progress:
        bar = progress.add_task("checking", total=size_bytes, records=0)
        check_lines(source, file, lambda read_bytes: progress.update(bar, completed=read_bytes))
    source.seek(0)


async def _submit(
    request: _Request,
    source: io.BufferedIOBase,
    lines: LineCutter | RequestLines,
    size_bytes: int | None,
    waiting: Waiting | None,
) -> Submission:
    if waiting is None:
        return await _publish(request, source, lines, size_bytes, lambda _place: None)
    async with waiting.reading():
        submission = await _publish(request, source, lines, size_bytes, waiting.await_place)
        await waiting.wait()
    return submission


async def _publish(
    request: _Request,
    source: io.BufferedIOBase,
    lines: LineCutter | RequestLines,
    size_bytes: int | None,
    note_place: Callable[[Place], None],
) -> Submission:
    with byte_progress() as progress:
        bar = progress.add_task("sending", total=size_bytes, records=0)
        submission = Submission()

        def show(read_bytes: int) -> None:
            progress.update(bar, completed=read_bytes, records=submission.sent_records)

        await publish_lines(
            request.kafka,
            request.topic,
            _read_lines(source, lines, show),
            key_of=request.key_of,
            submission=submission,
            headers=request.headers,
            note_place=note_place,
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
