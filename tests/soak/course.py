"""What happens in a soak, and when. Pure.

Consumers are restarted in the first part only: a process that starts again hides what it leaks.
Whatever leaves processes as they are goes on to the end.
"""

from dataclasses import dataclass
from enum import StrEnum

JUDGED_FROM = 0.4
"""Of the duration; what was before warms up."""


class Kind(StrEnum):
    """What happens to a service in its ordinary life."""

    ROLLING_RESTART = "consumers restart, one after another"
    JOIN = "a consumer joins"
    LEAVE = "it leaves"
    BROKER_RESTART = "the broker restarts"
    LIVE_SETTINGS = "settings change while replicas run"


@dataclass(frozen=True, slots=True)
class Event:
    at_s: float
    kind: Kind


_FIRST_PART = (
    (0.06, Kind.LIVE_SETTINGS),
    (0.10, Kind.ROLLING_RESTART),
    (0.18, Kind.JOIN),
    (0.23, Kind.LEAVE),
    (0.27, Kind.BROKER_RESTART),
    (0.33, Kind.ROLLING_RESTART),
)
_ROUND = (
    (0.02, Kind.LIVE_SETTINGS),
    (0.06, Kind.JOIN),
    (0.12, Kind.LEAVE),
)
_SECOND_ROUNDS = (0.42, 0.60, 0.80)
_SECOND_RESTART = 0.76


def course(duration_s: float) -> list[Event]:
    """Return the events of a soak in order."""
    shares = [*_FIRST_PART, (_SECOND_RESTART, Kind.BROKER_RESTART)]
    shares += [(start + at, kind) for start in _SECOND_ROUNDS for at, kind in _ROUND]
    return [Event(round(share * duration_s, 1), kind) for share, kind in sorted(shares)]
