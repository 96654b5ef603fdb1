"""What a consumer waits for, in lines for a person: ``SUBJECT: details, and what to do``.

The subject stays the same while the wait lasts, and is the same for each consumer that waits for
it; changing numbers are in the details.
"""

from collections.abc import Iterable, Mapping

LEAST_S = 5.0
"""A shorter wait is ordinary: a leader that moves, an open transaction."""
MOST_LINES = 8
MOST_CHARACTERS = 600


def topic_gone(topic: str) -> str:
    return f"topic {topic} is gone: create it (`headrace topics create`)"


def no_leader(topic: str, partition: int) -> str:
    return f"{topic}/{partition} has no leader: bring back a broker that has a replica of it"


def no_broker(doing: str) -> str:
    return f"{doing} waits for a broker: none answers; check kafka.bootstrap and the brokers"


def open_transaction(
    topic: str, partition: int, offset: int, records: int, details: str = ""
) -> str:
    return (
        f"{topic}/{partition} is held at offset {offset} by an open transaction: {records:,} "
        f"records wait for its end{details}"
    )


def subject(line: str) -> str:
    return line.split(": ", 1)[0]


def merged(groups: Iterable[Iterable[str]]) -> list[str]:
    """Return several consumers' lines: each subject once, with the last details and a count."""
    found: dict[str, str] = {}
    counts: dict[str, int] = {}
    for lines in groups:
        for about, line in {subject(line): line for line in lines}.items():
            found[about] = line
            counts[about] = counts.get(about, 0) + 1
    return bounded(
        line if counts[about] == 1 else f"{line} ({counts[about]} consumers)"
        for about, line in found.items()
    )


def bounded(lines: Iterable[str]) -> list[str]:
    short = [
        line if len(line) <= MOST_CHARACTERS else f"{line[: MOST_CHARACTERS - 1]}…"
        for line in lines
    ]
    if len(short) <= MOST_LINES:
        return short
    kept = MOST_LINES - 1
    return [*short[:kept], f"more: {len(short) - kept} other lines like these"]


class LastingWaits:
    """Passes on lasting waits: each line whose subject was there at every look for 5 s."""

    def __init__(self) -> None:
        self._since_s: Mapping[str, float] = {}

    def of(self, lines: Iterable[str], now_s: float) -> list[str]:
        """Return those of ``lines`` that last; call this about every second."""
        by_subject = {subject(line): line for line in lines}
        self._since_s = {each: self._since_s.get(each, now_s) for each in by_subject}
        return bounded(
            line for each, line in by_subject.items() if now_s - self._since_s[each] >= LEAST_S
        )
