"""The table of alerts and faults, for docs. Pure."""

from collections.abc import Mapping
from typing import Any

_BEGIN = "<!-- Written by `make alerts`: the table. -->\n"
_END = "<!-- The end of the table. -->\n"


def with_table(page: str, report: Mapping[str, Any]) -> str:
    """Return a page with the table of a run in place of the one that it has."""
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{_table(report)}\n{_END}{after}"


def _table(report: Mapping[str, Any]) -> str:
    lines = [
        "| alert | fault | fired after | resolved after |",
        "|---|---|---|---|",
        *(
            f"| {_linked(each['alert'])} | {each['fault']} | {_seconds(each['fired_after_s'])} | "
            f"{_seconds(each['resolved_after_s'])} |"
            for each in report["alerts"]
        ),
        *(f"| {_linked(alert)} | {why} | | |" for alert, why in report["not_caused"].items()),
    ]
    fired = ", ".join(alert for alert, _ in report["in_ordinary_work"]) or "none fired"
    ordinary = f"In {report['ordinary_s']:g} s of ordinary work before: {fired}."
    return "\n".join(lines) + f"\n\n{ordinary}\n"


def _linked(alert: str) -> str:
    return f"[{alert}](runbooks.md#{alert.lower()})"


def _seconds(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.0f} s"
