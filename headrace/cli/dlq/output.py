"""Prints dead letters, without control characters that a producer wrote."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import orjson
from rich.console import Group
from rich.table import Table
from rich.text import Text

from headrace.cli.output import RateColumn, count, printable, progress_bar
from headrace.dead_letters.handling import Survey
from headrace.dead_letters.inbox import Found, Progress, Tally
from headrace.dead_letters.letter import DeadLetter
from schemas.wire.deadletters import Failure
from schemas.wire.headers import Headers

COLUMNS = (("place", 34), ("custom_id", 20), ("error code", 20), ("age", 5), ("try", 3))
MAX_HEADER_CHARACTERS = 300
MAX_SHOWN_HEADERS = 60
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60))


def describe_age(failed_at_ms: int | None, now_ms: int) -> str:
    """Return how long ago something was, in its largest unit; empty if unknown."""
    if failed_at_ms is None or failed_at_ms < 0:
        return ""
    seconds = max(0, now_ms - failed_at_ms) // 1000
    for unit, length_s in _UNITS:
        if seconds >= length_s:
            return f"{seconds // length_s}{unit}"
    return f"{seconds}s"


@contextmanager
def reading_bar(topic: str) -> Iterator[Progress]:
    # Output for programs must meanwhile stay on stdout.
    bars = progress_bar(RateColumn(), transient=True, redirect_stdout=False)
    with bars:
        bar = bars.add_task(f"reading {topic}", total=None, records=0)

        def show(passed_offsets: int, total_offsets: int) -> None:
            bars.update(bar, completed=passed_offsets, total=total_offsets, records=passed_offsets)

        yield show


def heading() -> Text:
    cells = "  ".join(f"{name:<{width}}" for name, width in COLUMNS)
    return Text(f"{cells}  message", style="bold")


def row(found: Found, now_ms: int) -> Text:
    """Return a dead letter as a line of a list; a table that streams has no end to draw."""
    record = found.record
    letter = found.letter
    place = str(record.place)
    if letter is None:
        cells = [place, "", "", describe_age(record.timestamp_ms, now_ms), ""]
        message = "no dead letter of Headrace"
    else:
        age = describe_age(letter.failed_at_ms, now_ms)
        cells = [place, letter.custom_id() or "", letter.error_code, age, str(letter.attempts)]
        replays = f"[replayed {letter.replays}x] " if letter.replays else ""
        message = replays + letter.error_message
    line = "  ".join(
        f"{_cut(printable(cell), width):<{width}}"
        for cell, (_name, width) in zip(cells, COLUMNS, strict=True)
    )
    return Text(f"{line}  {printable(message)}", style="dim" if found.is_handled else "")


def _cut(text: str, width: int) -> str:
    # Places differ at their ends, ids at their beginnings.
    if len(text) <= width:
        return text
    return "…" + text[1 - width :] if "/" in text else text[: width - 1] + "…"


def tally_table(tally: Tally, now_ms: int, title: str) -> Table:
    table = Table(title=title)
    table.add_column("error code")
    table.add_column("dead letters", justify="right")
    for code, records in tally.by_error_code.most_common():
        table.add_row(Text(printable(code)), count(records))
    if tally.foreign_records:
        table.add_row("(no dead letters)", count(tally.foreign_records))
    if tally.oldest_ms is not None and tally.newest_ms is not None:
        oldest, newest = (describe_age(at, now_ms) for at in (tally.oldest_ms, tally.newest_ms))
        table.caption = f"{count(tally.records)} in all, failed {newest} to {oldest} ago"
    return table


def survey_notes(topic: str, found_out: Survey) -> list[str]:
    """Return where a replay of a topic's dead letters would go, and what prevents it."""
    notes = [
        f"{topic}: {count(records)} go to {target}"
        for target, records in found_out.targets.most_common()
    ]
    if found_out.expired_records:
        notes.append(
            f"{topic}: {count(found_out.expired_records)} have a deadline that has passed, and "
            "would be answered with request_expired; --drop-deadlines leaves deadlines out"
        )
    notes += [
        f"{topic}: {count(records)} cannot be replayed: {printable(reason)}"
        for reason, records in found_out.not_replayable.most_common()
    ]
    return notes


def letter_page(letter: DeadLetter, now_ms: int, max_value_characters: int) -> Group:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    key = letter.record.key
    for name, text in (
        ("dead letter", str(letter.record.place)),
        ("request", str(letter.source)),
        ("route", letter.route),
        ("custom_id", letter.custom_id() or ""),
        ("key", "none" if key is None else key.decode("utf-8", "replace")),
        ("error", letter.error_code),
        ("message", letter.error_message),
        ("attempts", str(letter.attempts)),
        ("failed", _moment(letter.failed_at_ms, now_ms)),
        ("replays", str(letter.replays)),
    ):
        facts.add_row(name, Text(printable(text)))
    parts: list[Table | Text] = [facts]
    if letter.earlier_failures:
        parts.append(_history(letter.earlier_failures, now_ms))
    if letter.request_headers:
        parts.append(_headers(letter.request_headers))
    parts.append(Text(_value_text(letter, max_value_characters)))
    return Group(*parts)


def _moment(epoch_ms: int, now_ms: int) -> str:
    return f"{describe_age(epoch_ms, now_ms)} ago (epoch ms {epoch_ms})"


def _history(failures: Iterable[Failure], now_ms: int) -> Table:
    table = Table("error", "request", "try", "failed", "message", title="Earlier failures")
    for each in failures:
        table.add_row(
            Text(printable(each.error_code)),
            Text(printable(each.source)),
            str(each.attempts),
            f"{describe_age(each.failed_at, now_ms)} ago",
            Text(printable(each.error_message)),
        )
    return table


def _headers(headers: Headers) -> Table:
    table = Table("header", "value", title="Headers of the request")
    for name, value in headers[:MAX_SHOWN_HEADERS]:
        text = (value or b"")[: 4 * MAX_HEADER_CHARACTERS].decode("utf-8", "replace")
        shown = text[:MAX_HEADER_CHARACTERS] + "…" * (len(text) > MAX_HEADER_CHARACTERS)
        described = Text("null", "dim italic") if value is None else Text(printable(shown))
        table.add_row(Text(printable(name[:MAX_HEADER_CHARACTERS])), described)
    if len(headers) > MAX_SHOWN_HEADERS:
        table.caption = f"and {count(len(headers) - MAX_SHOWN_HEADERS)} more"
    return table


def _value_text(letter: DeadLetter, max_characters: int) -> str:
    value = letter.record.value
    if value is None:
        size = letter.omitted_value_bytes
        size_text = "" if size is None else f" ({count(size)} bytes)"
        return f"The value was too large to be kept{size_text}; it may stand at {letter.source}."
    try:
        text = orjson.dumps(orjson.loads(value), option=orjson.OPT_INDENT_2).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, RecursionError):
        text = value.decode("utf-8", "replace")
    shown = printable(text[:max_characters], keeps_lines=True)
    if len(text) > max_characters:
        shown += (
            f"\n… {count(len(text) - max_characters)} more characters; --max-value shows more, "
            "--json all"
        )
    return shown
