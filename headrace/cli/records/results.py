"""``headrace results``: reads a route's results, or its dead letters."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO

import orjson
import typer
from rich.text import Text

from handoff.clock import SystemClock
from headrace.cli.options import ConfigOption, JobOption, RouteOption, choose_route, read_settings
from headrace.cli.output import (
    count,
    err,
    open_output,
    out,
    print_error,
    print_note,
    printable,
)
from headrace.errors import UserError
from headrace.records.reading import MissingTopicError, TopicRecord, read_topic
from headrace.records.selection import Selection
from headrace.service.resolving import Resolver
from headrace_client.moments import moment_before
from schemas.wire import headers

SUMMARY_CHARACTERS = 80


def results(  # noqa: PLR0913, PLR0917 - its options
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is still to come.")
    ] = False,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="With --follow: begin with the oldest.")
    ] = False,
    most: Annotated[
        int | None, typer.Option("--max", "-n", min=1, help="End after this many records.")
    ] = None,
    dead_letters: Annotated[
        bool, typer.Option("--dead-letters", help="Read the dead letters instead.")
    ] = False,
    job: JobOption = None,
    custom_id: Annotated[
        list[str] | None,
        typer.Option("--custom-id", help="Only this custom_id; may be given repeatedly."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", help="Begin with 10m ago, 2h ago, or 2030-01-31T18:00."),
    ] = None,
    until_count: Annotated[
        int | None,
        typer.Option(
            "--until-count", min=1, help="Wait until there are so many, repeats left out; then end."
        ),
    ] = None,
    resolve: Annotated[
        bool, typer.Option("--resolve", help="Put bodies from the object store in their place.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file to write JSON lines to.")
    ] = None,
    route: RouteOption = None,
    config: ConfigOption = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON lines on a terminal too.")
    ] = False,
) -> None:
    """Read results: a table on a terminal, JSON lines in a pipe or file.

    Without --follow or --until-count: from the oldest to the latest one that is there now. Dead
    letters come as {"topic", "partition", "offset", "key", "headers", "value"}. Reads without a
    group, so nothing is taken away from anyone.
    """
    if until_count is not None and most is not None:
        raise UserError("--until-count: waits for records, --max does not; give one of them")
    if since is not None and from_beginning:
        raise UserError("--since: says where to begin, and --from-beginning too; give one of them")
    settings = read_settings(config)
    name, chosen = choose_route(settings, route)
    resolver = Resolver(name, chosen) if resolve else None
    topic = chosen.dead_letters_topic if dead_letters else chosen.results_topic
    with ExitStack() as stack:
        if output is not None:
            sink: BinaryIO | None = stack.enter_context(open_output(output))
        else:
            sink = None if sys.stdout.isatty() and not json else sys.stdout.buffer
        show = _Table(dead_letters) if sink is None else _Lines(sink, dead_letters)
        if resolver is not None:
            stack.callback(resolver.close)
        records = read_topic(
            settings.results_cluster,
            topic,
            from_beginning=from_beginning or not follow,
            follow=follow or until_count is not None,
            since_ms=None if since is None else _moment(since),
        )
        selection = Selection(
            job=job, custom_ids=custom_id or (), is_unique=until_count is not None
        )
        wanted = _Wanted(topic, selection, until_count or most, resolver)
        try:
            shown_records = asyncio.run(_show(records, wanted, show))
        except MissingTopicError as error:
            raise UserError(str(error)) from None
    if resolver is not None and resolver.problems:
        for problem in resolver.problems:
            print_error(problem)
        raise typer.Exit(1)
    if output is not None:
        print_note(f"{count(shown_records)} records of {topic} written to {output}")


def _moment(text: str) -> int:
    try:
        return moment_before(text, SystemClock().epoch_ms())
    except ValueError as error:
        raise UserError(f"--since: {error}") from None


class _Lines:
    def __init__(self, sink: BinaryIO, is_dead_letters: bool) -> None:
        self._sink = sink
        self._is_dead_letters = is_dead_letters

    def show(self, record: TopicRecord) -> None:
        if self._is_dead_letters:
            self._sink.write(orjson.dumps(record.to_dict()) + b"\n")
        elif record.value is not None:
            self._sink.write(record.value + b"\n")

    def flush(self) -> None:
        self._sink.flush()


class _Table:
    """Prints one row per record as they come; a table that follows has no end to draw."""

    def __init__(self, is_dead_letters: bool) -> None:
        self._is_dead_letters = is_dead_letters
        self._is_headed = False

    def show(self, record: TopicRecord) -> None:
        if not self._is_headed:
            self._is_headed = True
            names = ("key", "error code") if self._is_dead_letters else ("custom_id", "status")
            out.print(self._row("offset", *names, "summary", style="bold"))
        place = f"{record.partition}/{record.offset}"
        cells = describe_dead_letter(record) if self._is_dead_letters else describe_result(record)
        out.print(self._row(place, *cells), no_wrap=True, overflow="ellipsis", crop=True)

    def flush(self) -> None:
        out.file.flush()

    def _row(self, place: str, name: str, status: str, summary: str, style: str = "") -> Text:
        row = f"{place:<9} {name[:24]:<24} {status[:18]:<18} {summary}"
        return Text(printable(row), style=style)


def describe_result(record: TopicRecord) -> tuple[str, str, str]:
    try:
        line = orjson.loads(record.value or b"")
        custom_id = str(line["custom_id"])
        if line["error"] is not None:
            return custom_id, str(line["error"]["code"]), str(line["error"]["message"])
        response = line["response"]
        if "body_ref" in response:
            place = response["body_ref"]
            words = f"{place['size_bytes']:,} bytes at {place['url']}"
            return custom_id, str(response["status_code"]), words
        return custom_id, str(response["status_code"]), describe_body(response["body"])
    except (ValueError, KeyError, TypeError):
        return "", "no result line", repr((record.value or b"")[:SUMMARY_CHARACTERS])


def describe_body(body: dict[str, object]) -> str:
    match body:
        case {"error": {"message": str(message)}}:
            words = message
        case {"data": [{"embedding": first}, *rest], "usage": {"total_tokens": int(tokens)}}:
            size = f"{len(first)} components" if isinstance(first, list) else "base64"
            words = f"{1 + len(rest)} embeddings, {size}, {tokens} tokens"
        case {"choices": [{"message": {"tool_calls": [_, *_] as calls}}, *rest]}:
            words = _reply(", ".join(_called_names(calls)), "tool_calls", rest)
        case {"choices": [{"message": {"content": str(text)}, "finish_reason": reason}, *rest]}:
            words = _reply(text, reason, rest)
        case {"choices": [{"text": str(text), "finish_reason": reason}, *rest]}:
            words = _reply(text, reason, rest)
        case {"data": [{"label": str(label), "probs": [_, *_] as probs}, *rest]}:
            most = max((prob for prob in probs if isinstance(prob, float | int)), default=0)
            words = f"{label} {most:.3f}{_first_of(rest, 'texts')}"
        case {"results": [{"index": best, "relevance_score": float() | int() as score}, *rest]}:
            words = f"{1 + len(rest)} results, best: document {best}, score {score:.3f}"
        case {"data": [{"score": float() | int()}, *_] as items}:
            score, best = max(_scores(items), key=lambda scored: scored[0])
            words = f"{len(items)} scores, best: document {best}, score {score:.3f}"
        case _:
            words = orjson.dumps(body)[:SUMMARY_CHARACTERS].decode(errors="replace")
    return words


def _reply(text: str, finish_reason: object, others: list[object]) -> str:
    # The reason comes first: a terminal cuts the row's end.
    beginning = " ".join(text.split())
    if len(beginning) > SUMMARY_CHARACTERS:
        beginning = beginning[:SUMMARY_CHARACTERS] + "…"
    return f"{finish_reason}{_first_of(others, 'replies')}: {beginning}"


def _first_of(others: list[object], noun: str) -> str:
    return f", first of {1 + len(others)} {noun}" if others else ""


def _called_names(calls: list[object]) -> list[str]:
    names = []
    for call in calls:
        match call:
            case {"function": {"name": str(name)}}:
                names.append(name)
    return names


def _scores(items: Sequence[object]) -> list[tuple[float, int]]:
    scores = []
    for position, item in enumerate(items):
        match item:
            case {"score": float() | int() as score}:
                scores.append((score, position))
    return scores


def describe_dead_letter(record: TopicRecord) -> tuple[str, str, str]:
    values = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    key = "" if record.key is None else record.key.decode(errors="replace")
    return key, values.get(headers.ERROR_CODE, ""), values.get(headers.ERROR_MESSAGE, "")


@dataclass(frozen=True, slots=True)
class _Wanted:
    topic: str
    selection: Selection
    most: int | None
    resolver: Resolver | None


async def _show(
    records: AsyncGenerator[TopicRecord | None, None], wanted: _Wanted, show: _Lines | _Table
) -> int:
    topic, resolver = wanted.topic, wanted.resolver
    shown_records = 0
    with err.status(f"reading {topic}") if isinstance(show, _Lines) else ExitStack() as status:
        async with aclosing(records):
            async for record in records:
                if record is None:
                    show.flush()
                    continue
                if not wanted.selection.takes(record):
                    continue
                show.show(record if resolver is None else await resolver.resolve(record))
                shown_records += 1
                if not isinstance(status, ExitStack) and shown_records % 100 == 0:
                    status.update(f"reading {topic}: {count(shown_records)} records")
                if shown_records == wanted.most:
                    break
    show.flush()
    return shown_records
