"""The table of what a look at the surroundings found. Pure."""

from collections.abc import Iterable

from rich.table import Column, Table
from rich.text import Text

from headrace.preflight.findings import Finding

_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}


def findings_table(findings: Iterable[Finding], title: str = "What the service needs") -> Table:
    table = Table(
        Column("", no_wrap=True),
        Column("about", no_wrap=True),
        Column("where", overflow="fold", ratio=2),
        Column("found, and what to do", overflow="fold", ratio=3),
        title=title,
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
