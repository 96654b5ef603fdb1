"""What is promised, in numbers, and what a run comes to. Pure."""

from collections import Counter
from dataclasses import dataclass, field

Position = tuple[int, int]
"""Partition and offset in the requests topic; see ``incarnations`` where it was created again."""


@dataclass(frozen=True, slots=True)
class Promises:
    """What is checked, in numbers.

    Attributes:
        exactly_once: Whether any repeat is a violation.
        commit_interval_s: At-least-once: how much may be repeated around an unclean fault.
        slack_s: What a publish and a commit under way add to that: an outcome is stamped before it
            is acknowledged, and a commit counts when it has reached the broker.
        settle_s: How long after its end a fault still explains a repeat: a member that was cut off
            learns from its next heartbeat that the group went on without it.
        metadata_limit_characters: What the consumers are told that the brokers take; these take
            more, so that an overrun is seen and not refused.
        stalled_after_s: Without an outcome for so long, a partition with work stands still; time in
            which group or brokers were disturbed does not count.
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
        name: For a person.
        start_s: Epoch seconds.
        end_s: Epoch seconds.
        is_clean: It excuses no repeat.
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
    """What a run comes to; the fields are those of the report.

    Attributes:
        accepted: Records that stood on the requests topic.
        lost: Of those, how many have not the outcome that they must have.
        doubled: Records with more than one outcome that nothing explains (exactly-once), or with
            more than one at all (at-least-once: duplicates).
        unexplained: Duplicates that no unclean fault explains.
        stalled_partitions: How many stood still while nothing was wrong.
        hanging_transactions: How many were open at the end.
        given_up: Ordinary records that ended as dead letters; a violation where no model replica
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
