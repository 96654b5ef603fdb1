"""The tables at the end of the demo."""

from rich.markup import escape
from rich.table import Table

from headrace.cli.output import count, out, print_error, print_table
from headrace.demo.report import (
    SKIPPED,
    Tally,
    adds_up,
    header,
    nearest_neighbours,
    prompts_by_id,
    texts_by_id,
)
from schemas.wire import headers

QUERY = "music-13"
NEIGHBOURS = 5
MOST_CHARACTERS = 110


def report(
    tally: Tally, text_lines: list[bytes], chat_lines: list[bytes], skipped_records: int
) -> int:
    """Print what went in and what came out; returns 0 if it adds up, else 1."""
    _show_balance(tally, skipped_records)
    _show_dead_letters(tally)
    _show_neighbours(tally, texts_by_id(text_lines))
    _show_chat(tally, prompts_by_id(chat_lines))
    published = len(tally.sent) + len(tally.tombstones)
    if adds_up(tally, skipped_records):
        out.print(f"All {count(published)} records are accounted for, each once.", style="green")
        return 0
    print_error(
        f"this does not add up: {len(tally.sent)} records and {len(tally.tombstones)} tombstones "
        f"went in; {len(tally.outcomes)} outcomes, {tally.repeats} repeats and {skipped_records} "
        "skipped came out"
    )
    return 1


def _show_balance(tally: Tally, skipped_records: int) -> None:
    published = len(tally.sent) + len(tally.tombstones)
    counts = tally.counts(skipped_records)
    balance = Table("outcome", title="What came out", show_footer=True)
    balance.columns[0].footer = f"sum, of {count(published)} published"
    balance.add_column("records", justify="right", footer=count(counts.total()))
    for outcome, records in sorted(counts.items(), key=lambda item: (item[0] == SKIPPED, item[0])):
        balance.add_row(outcome, count(records))
    out.print(balance)


def _show_dead_letters(tally: Tally) -> None:
    rows = [
        (
            header(record, headers.SOURCE),
            header(record, headers.ERROR_CODE),
            escape(header(record, headers.ERROR_MESSAGE)),
        )
        for record in tally.dead_letters
    ]
    print_table("source", "code", "reason", rows=rows, title="Dead letters")


def _show_neighbours(tally: Tally, texts: dict[str, str]) -> None:
    if QUERY in tally.vectors:
        nearest = nearest_neighbours(tally.vectors, QUERY, NEIGHBOURS)
        rows = [(f"{score:.3f}", texts[name]) for name, score in nearest]
        print_table("cosine", "sentence", rows=rows, title=f"Nearest to: {texts[QUERY]}")


def _show_chat(tally: Tally, prompts: dict[str, str]) -> None:
    chat = Table("prompt", "outcome", "what came back", title="Guarded chat", show_lines=True)
    for name, prompt in prompts.items():
        if name in tally.replies:
            outcome, text = tally.replies[name]
            style = "" if outcome == "answered" else "yellow"
            chat.add_row(escape(prompt), outcome, escape(_shorten(text)), style=style)
    out.print(chat)


def _shorten(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"
