"""A pause of a route, and what a consumer does next because of one."""

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Pause:
    """A person has paused the route, since ``since_ms`` (epoch milliseconds)."""

    since_ms: int
    reason: str = ""

    def lasts_s(self, epoch_ms: int) -> float:
        return max(0.0, (epoch_ms - self.since_ms) / 1000)


class Turn(Enum):
    JOIN = "join"
    """Begin with a new loop, which joins the group."""
    LEAVE = "leave"
    """Finish what is in flight, commit, and leave the group."""
    STAY = "stay"
    END = "end"
    """The replica stops, and is out of the group."""


def next_turn(*, is_member: bool, is_paused: bool, is_ending: bool) -> Turn:
    """Return what a consumer does next.

    It leaves a group before it ends, and joins one only if nobody wants it out: whatever order
    pauses, ends of pauses and the end of the replica come in, one turn at a time is enough.
    """
    if is_member:
        return Turn.LEAVE if is_paused or is_ending else Turn.STAY
    if is_ending:
        return Turn.END
    return Turn.STAY if is_paused else Turn.JOIN
