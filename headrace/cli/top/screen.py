"""Fits an overview into a terminal: what stands still is shown whatever the room. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo

from rich.text import Text

from headrace.cli.output import printable
from headrace.cli.top.lines import Entry, Section, jobs_section, models_section, routes_section
from headrace.overview.snapshot import Overview, RouteState

_LEAST_WIDTH = 40
_MOST_DETAILS = 4
_SHARES = (0.5, 0.3, 0.2)
"""Of the height, for routes, models and jobs, where not all of them fit."""


def frame(
    overview: Overview,
    width: int,
    height: int | None = None,
    *,
    zone: tzinfo = UTC,
    trouble: str = "",
) -> list[Text]:
    """Return the lines of a frame, at most ``height`` of them, each at most ``width`` wide.

    ``trouble`` is why the overview is not of this moment; ``zone`` that of the times shown.
    """
    width = max(width, _LEAST_WIDTH)
    head = _head(overview, width, zone, trouble)
    sections = [
        section
        for section in (
            routes_section(overview.routes, width),
            models_section(overview.models, width),
            jobs_section(overview.jobs, width),
        )
        if section.entries
    ]
    if height is None:
        return [*head, *_body(sections, width, _MOST_DETAILS, 1)]
    room = max(0, height - len(head))
    for grave, others in ((_MOST_DETAILS, 2), (_MOST_DETAILS, 1), (2, 0), (1, 0)):
        body = _body(sections, width, grave, others)
        if len(body) <= room:
            return [*head, *body]
    return [*head, *_cut(sections, width, room)][:height]


def _head(overview: Overview, width: int, zone: tzinfo, trouble: str) -> list[Text]:
    at = datetime.fromtimestamp(overview.at_ms / 1000, UTC).astimezone(zone)
    counted = dict.fromkeys(RouteState, 0)
    for route in overview.routes:
        counted[route.state] += 1
    states = ", ".join(f"{number} {state.value}" for state, number in counted.items() if number)
    title = Text.assemble(
        ("headrace ", "bold"), f"{at:%H:%M:%S}  {_counted(len(overview.routes), 'route')}"
    )
    if states:
        title.append(f": {states}")
    lines = [title]
    lines += [Text(printable(each), style="red") for each in overview.unanswered[:3]]
    if trouble:
        lines.append(Text(printable(trouble), style="bold red"))
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines


def _body(sections: Sequence[Section], width: int, grave: int, others: int) -> list[Text]:
    lines: list[Text] = []
    for section in sections:
        lines += [Text(""), section.heading]
        for entry in section.entries:
            lines += entry.lines(width, grave if entry.is_grave else others)
    return lines


def _cut(sections: Sequence[Section], width: int, room: int) -> list[Text]:
    """Return the first entries of each section, and how many more there are."""
    rooms = _rooms([_lines_of(each, width) for each in sections], room)
    lines: list[Text] = []
    for section, given in zip(sections, rooms, strict=True):
        lines += _cut_section(section, width, given)
    return lines


def _lines_of(section: Section, width: int) -> int:
    return 2 + sum(len(_short(each, width)) for each in section.entries)


def _short(entry: Entry, width: int) -> list[Text]:
    return entry.lines(width, 1 if entry.is_grave else 0)


def _rooms(needed: Sequence[int], room: int) -> list[int]:
    """Give each its share or what it needs, and what is left over to those that need more."""
    given = [min(need, int(room * share)) for need, share in zip(needed, _SHARES, strict=False)]
    for place, need in enumerate(needed):
        given[place] = min(need, given[place] + room - sum(given))
    return given


def _cut_section(section: Section, width: int, room: int) -> list[Text]:
    # A blank line, the heading, an entry, and a line on the others.
    if room < 4 and room < 2 + len(section.entries):
        return []
    lines = [Text(""), section.heading]
    for place, entry in enumerate(section.entries):
        here = _short(entry, width)
        left = len(section.entries) - place
        is_last = left == 1
        if len(lines) + len(here) > room - (0 if is_last else 1):
            if place or is_last or len(lines) + 1 >= room:
                return [*lines, _more(left, section.plural, is_all=not place)]
            here = here[:1]
        lines += here
    return lines


def _more(number: int, plural: str, *, is_all: bool) -> Text:
    what = plural if number > 1 else plural.removesuffix("s")
    return Text(f"  {number} {what}" if is_all else f"  and {number} more {what}", style="dim")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
