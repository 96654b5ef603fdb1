"""The table of what a look at the surroundings found. Pure."""

from collections.abc import Iterable

from rich.table import Column, Table
from rich.text import Text

from headrace.preflight.findings import Finding, Level

_ORDER: tuple[Level, ...] = ("error", "warning", "ok")
_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}


def findings_table(findings: Iterable[Finding]) -> Table:
    table = Table(
        Column("", no_wrap=True),
        Column("about", no_wrap=True),
        Column("where", overflow="fold", ratio=2),
        Column("found, and what to do", overflow="fold", ratio=3),
        title="What the service needs",
        show_lines=True,
    )
    for each in findings:
        found = Text(each.says)
        if each.fix:
            found.append(f"\n→ {each.fix}", style="bold")
        table.add_row(
            Text(each.level, style=_STYLES[each.level]), each.about, Text(each.where), found
        )
    return table


def findings_list(findings: Iterable[Finding]) -> Table:
    """Return the gravest first, without lines between: most say little, and there are many."""
    table = Table(
        Column(no_wrap=True),
        Column(no_wrap=True),
        Column(overflow="fold", ratio=1),
        box=None,
        show_header=False,
        pad_edge=False,
    )
    for each in sorted(findings, key=lambda each: _ORDER.index(each.level)):
        found = Text(f"{each.where}: ", style="bold" if each.level != "ok" else "")
        found.append(each.says, style="not bold")
        if each.fix:
            found.append(f"\n→ {each.fix}", style="not bold")
        table.add_row(Text(each.level, style=_STYLES[each.level]), each.about, found)
    return table
