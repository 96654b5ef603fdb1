"""How ``headrace offsets`` shows what it found, and what it would do or has done."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from consumer.kafka.admin.group_offsets import GroupState
from headrace.cli.output import count, out, print_json, print_line, print_note
from headrace.offsets.changing import not_empty
from headrace.offsets.edits import Edit
from headrace.offsets.standing import PartitionStanding

MOST_ROWS = 20
"""A table shows as many partitions; more are summed up, and --partition or --json shows them."""


def partition_table(partitions: Sequence[PartitionStanding], limit_characters: int) -> Table:
    # Without lines: offsets of ten digits fit into 80 columns.
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("partition", "log start", "committed", "log end", "lag", "left", "map"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in partitions:
        table.add_row(
            str(each.partition),
            count(each.log_start),
            "none" if each.committed is None else count(each.committed),
            count(each.high_watermark),
            count(each.lag),
            count(each.left),
            f"{each.map_characters / limit_characters:.0%}",
        )
    return table


def most_left(partitions: Sequence[PartitionStanding]) -> list[PartitionStanding]:
    """Return those that a table shows: all if they are few, else those with most left."""
    if len(partitions) <= MOST_ROWS:
        return list(partitions)
    worst = sorted(partitions, key=lambda each: (-each.left, -each.lag, each.partition))
    return sorted(worst[:MOST_ROWS], key=lambda each: each.partition)


def metadata_lines(partition: int, decoded: Mapping[str, Any]) -> list[str]:
    if "error" in decoded:
        return [f"partition {partition}: {decoded['error']}"]
    head = (
        f"partition {partition}: {count(decoded['unfinished_below'])} unfinished offsets up to "
        f"{decoded['highest_completed']}, the highest that is done"
    )
    lines = [head]
    if decoded["unfinished"]:
        lines.append(f"  unfinished: {_ranges(decoded['unfinished'])}")
    lines += [
        f"  offset {each['offset']}: {each['attempts']} attempts, of which "
        f"{each['failed_attempts']} count as failed"
        for each in decoded["failed"][:MOST_ROWS]
    ]
    return lines


def _ranges(offsets: Sequence[int], most: int = 8) -> str:
    """Return offsets as ranges, e.g. ``4-7, 9``; only the first few."""
    ranges: list[tuple[int, int]] = []
    for offset in offsets:
        if ranges and offset == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], offset)
        else:
            ranges.append((offset, offset))
    shown = [f"{a}" if a == b else f"{a}-{b}" for a, b in ranges[:most]]
    more = len(ranges) - most
    return ", ".join(shown) + (f", and {count(more)} more ranges" if more > 0 else "")


def show_edits(
    name: str,
    group: str,
    edits: Sequence[Edit],
    state: GroupState,
    *,
    is_done: bool,
    json: bool,
    outcome: str | None = None,
    begins: int = 0,
) -> None:
    """Print what would change, or has changed; a dry run says what it takes to do it.

    ``begins`` is the number of partitions in which the group begins with it.
    """
    changed = [each for each in edits if each.is_change]
    if json:
        print_json(
            {
                "route": name,
                "group": group,
                "group_state": state.state,
                "done": is_done,
                "partitions_begun": begins,
                **({} if outcome is None else {"outcome": outcome}),
                "partitions": [each.to_dict() for each in edits],
            }
        )
        return
    if changed:
        out.print(_edit_table(changed))
    again, given_up = sum(e.again for e in changed), sum(e.given_up for e in changed)
    verb = "changed" if is_done else "would change"
    print_line(
        f"{name}: {count(len(changed))} of {count(len(edits))} partitions {verb}; at most "
        f"{count(again)} records are done again, {count(given_up)} get no outcome"
    )
    if outcome is not None:
        print_line(f"the record's outcome: {outcome}")
    blocked = {each.partition: each.blocked for each in edits if each.blocked}
    if blocked:
        print_note(
            f"{count(sum(blocked.values()))} offsets behind open transactions, of "
            f"{_some_partitions(list(blocked))}, are not left out: they are read once those end; "
            "to leave them out, run this again then"
        )
    if begins:
        print_note(
            f"group {group} had committed nothing, and start_from is latest: the log ends of all "
            f"{count(begins)} partitions {'were' if is_done else 'would be'} committed first, so "
            "that the others are not read from their start"
        )
    if is_done or not changed:
        return
    if not state.is_empty:
        print_note(not_empty(name, group, state))
    print_note("nothing was changed; --yes does it")


def _some_partitions(numbers: Sequence[int], most: int = 5) -> str:
    more = len(numbers) - most
    named = ", ".join(map(str, numbers[:most])) + (f" and {count(more)} more" if more > 0 else "")
    return f"partition{'s' * (len(numbers) != 1)} {named}"


def _edit_table(edits: Sequence[Edit]) -> Table:
    table = Table()
    for heading in ("partition", "committed", "new", "done again", "without outcome", "map"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in edits[:MOST_ROWS]:
        table.add_row(
            str(each.partition),
            "none" if each.before is None else count(each.before.offset),
            count(each.after.offset),
            count(each.again),
            count(each.given_up),
            f"{len(each.after.metadata)} chars",
        )
    if len(edits) > MOST_ROWS:
        table.add_row("…", *[""] * 5)
    return table
