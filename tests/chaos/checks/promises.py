"""The promises, in numbers, and the verdict of a run. Pure."""

from collections import Counter
from dataclasses import dataclass, field

Position = tuple[int, int]
"""Partition and offset in the requests topic; see ``incarnations`` if it was created again."""


@dataclass(frozen=True, slots=True)
class Promises:
    """The limits that the checker uses.

    Attributes:
        exactly_once: Whether any repeat is a violation.
        commit_interval_s: At-least-once: how much may be repeated around an unclean fault.
        slack_s: What a publish and a commit under way add to that: an outcome is stamped before it
            is acknowledged, and a commit counts when it has reached the broker.
        settle_s: How long after its end a fault still explains a repeat: a member that was cut off
            learns from its next heartbeat that the group continued without it.
        metadata_limit_characters: The limit that the consumers' settings have. The brokers' limit
            is higher, so that the checker sees an overrun.
        stalled_after_s: A partition with work and without an outcome for this long stands still.
            Time in which group or brokers were disturbed does not count.
    """

    exactly_once: bool
    commit_interval_s: float = 0.5
    slack_s: float = 0.3
    settle_s: float = 1.0
    metadata_limit_characters: int = 4096
    stalled_after_s: float = 25.0


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken."""

    rule: str
    detail: str


@dataclass(frozen=True, slots=True)
class FaultWindow:
    """A fault as it happened.

    Attributes:
        name: For people.
        start_s: Epoch seconds.
        end_s: Epoch seconds.
        is_clean: It explains no repeat.
        is_disturbing: It touched the group or the brokers: partitions may stand still meanwhile.
        uncommitted_s: How long a member could publish in it, and not commit.
    """

    name: str
    start_s: float
    end_s: float
    is_clean: bool
    is_disturbing: bool = True
    uncommitted_s: float = 0.0


@dataclass(slots=True)
class Verdict:
    """The verdict of a run; the fields are those of the report.

    Attributes:
        accepted: Records on the requests topic.
        lost: Of those, how many lack an outcome that they must have.
        doubled: Records with more than one outcome that nothing explains (exactly-once), or with
            more than one at all (at-least-once: duplicates).
        unexplained: Duplicates that no unclean fault explains.
        stalled_partitions: How many stood still while nothing was wrong.
        hanging_transactions: How many were open at the end.
        given_up: Ordinary records that ended as dead letters; a violation if no model replica
            was down in their time.
        violations: Broken promises by rule.
        examples: Some of them, in words.
    """

    accepted: int = 0
    lost: int = 0
    doubled: int = 0
    unexplained: int = 0
    stalled_partitions: int = 0
    hanging_transactions: int = 0
    given_up: int = 0
    violations: Counter[str] = field(default_factory=Counter)
    examples: list[Violation] = field(default_factory=list)
