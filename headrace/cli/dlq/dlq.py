"""``headrace dlq``: lists dead letters and shows one."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

import typer
from rich.text import Text

from handoff.clock import SystemClock
from headrace.cli.dlq.handle import open_if_there
from headrace.cli.dlq.options import DlqRouteOption, Filters, choose_inboxes, with_filters
from headrace.cli.dlq.output import heading, letter_page, reading_bar, row, tally_table
from headrace.cli.dlq.purge import purge
from headrace.cli.dlq.replay import replay
from headrace.cli.options import ConfigOption, JsonOption, read_settings
from headrace.cli.output import count, out, print_json, print_note
from headrace.dead_letters.inbox import Found, Tally, find_all
from headrace.dead_letters.letter import DeadLetter, read_letter
from headrace.dead_letters.selection import Selection
from headrace.errors import UserError
from headrace.records.reading import LogReader, parse_place
from schemas.settings.file import Settings

DEFAULT_LIST_RECORDS = 100

dlq_app = typer.Typer(help="Dead letters: list, show, replay, purge.", no_args_is_help=True)
dlq_app.command("replay")(replay)
dlq_app.command("purge")(purge)


@dlq_app.callback()
def dlq() -> None:
    """Dead letters: what the service gave up on, and its way back.

    A dead letter that was replayed or purged counts as handled, and is not listed any more.
    """


@dlq_app.command("list")
@with_filters
def list_letters(
    filters: Filters,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=0, help="The most to show; all are counted.")
    ] = DEFAULT_LIST_RECORDS,
    include_handled: Annotated[
        bool, typer.Option("--all", "-a", help="Handled ones too; they are dimmed.")
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List dead letters, the oldest of each partition first, and count them by error code.

    With --json a line for each, and the counts as the last line on stderr.
    """
    settings = read_settings(config)
    now_ms = SystemClock().epoch_ms()
    selection = filters.selection(settings, now_ms)
    topics = choose_inboxes(settings, filters.route)
    listing = _Listing(limit, now_ms, is_json=json)

    async def read() -> None:
        found_all = _find(settings, topics, selection, include_handled=include_handled)
        async with aclosing(found_all):
            async for found in found_all:
                listing.add(found)

    asyncio.run(read())
    listing.show()
    tally = listing.tally
    if json:
        print_note(f"{count(tally.records)} dead letters: {tally.to_dict()['by_error_code']}")
        return
    if not tally.records:
        out.print("no dead letters" + (" that fit" * (not selection.is_everything)))
        return
    if tally.records > limit:
        print_note(f"{count(tally.records - limit)} more are not shown; --limit shows more")
    out.print(tally_table(tally, now_ms, "Dead letters"))


class _Listing:
    """Prints dead letters: into a pipe as they come, on a terminal once the bar is gone."""

    def __init__(self, limit_records: int, now_ms: int, *, is_json: bool) -> None:
        self.tally = Tally()
        self._limit_records = limit_records
        self._now_ms = now_ms
        self._is_json = is_json
        self._waiting: list[dict[str, object] | Text] = []

    def add(self, found: Found) -> None:
        self.tally.add(found)
        if self.tally.records > self._limit_records:
            return
        if self._is_json:
            self._waiting.append(_as_json(found))
        else:
            if self.tally.records == 1:
                self._waiting.append(heading())
            self._waiting.append(row(found, self._now_ms))
        if not out.is_terminal:
            self.show()

    def show(self) -> None:
        for line in self._waiting:
            if isinstance(line, Text):
                out.print(line, no_wrap=True, overflow="ellipsis", crop=True)
            else:
                print_json(line, indent=False)
        self._waiting.clear()


@dlq_app.command("show")
def show_letter(
    which: Annotated[
        str,
        typer.Argument(
            help="TOPIC/PARTITION/OFFSET of the dead letter or of its request, or a custom_id."
        ),
    ],
    max_value: Annotated[
        int, typer.Option("--max-value", min=0, help="The most characters of the value.")
    ] = 4000,
    route: DlqRouteOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show one dead letter whole: what failed, its history, headers and value."""
    settings = read_settings(config)
    topics = choose_inboxes(settings, route)
    letters = asyncio.run(_look_up(settings, topics, which))
    if not letters:
        raise UserError(f"no dead letter {which}; `headrace dlq list --all` shows which there are")
    letter = max(letters, key=lambda each: each.failed_at_ms)
    if json:
        print_json(letter.to_dict())
    else:
        out.print(letter_page(letter, SystemClock().epoch_ms(), max_value))
    if len(letters) > 1:
        print_note(
            f"the newest of {count(len(letters))}; `headrace dlq list --all --custom-id` has all"
        )


def _as_json(found: Found) -> dict[str, object]:
    fields = (
        {"custom_id": None, "error_code": None}
        if found.letter is None
        else {key: value for key, value in found.letter.to_dict().items() if key != "record"}
    )
    record = found.record
    return {**record.place._asdict(), "handled": found.is_handled, **fields}


async def _look_up(
    settings: Settings, topics: dict[str, tuple[str, ...]], which: str
) -> list[DeadLetter]:
    place = parse_place(which)
    if place is not None and place.topic in topics:
        async with LogReader(settings.results_cluster) as reader:
            record = await reader.record_at(place)
        if record is not None and read_letter(record) is None:
            raise UserError(f"{which}: it is no dead letter of Headrace; its headers are missing")
        letter = None if record is None else read_letter(record)
        return [] if letter is None else [letter]
    selection = Selection(custom_id=which) if place is None else Selection()
    letters: list[DeadLetter] = []
    found_all = _find(settings, topics, selection, include_handled=True)
    async with aclosing(found_all):
        async for found in found_all:
            letter = found.letter
            if letter is not None and (place is None or letter.source == place):
                letters = [*letters[-99:], letter]
    return letters


async def _find(
    settings: Settings,
    topics: dict[str, tuple[str, ...]],
    selection: Selection,
    *,
    include_handled: bool,
) -> AsyncGenerator[Found, None]:
    async with LogReader(settings.results_cluster) as reader:
        for topic, routes in topics.items():
            inbox = await open_if_there(reader, topic, routes)
            if inbox is None:
                continue
            with reading_bar(topic) as progress:
                found_all = find_all(
                    reader,
                    inbox,
                    include_handled=include_handled,
                    failed_after_ms=selection.failed_after_ms,
                    progress=progress,
                )
                async with aclosing(found_all):
                    async for found in found_all:
                        if found.is_selected(selection):
                            yield found
