"""Holds what is seen on the topics and in the group to what the service promises. Pure.

It is fed with events in the order in which a reader with ``read_committed`` sees them; times are
epoch seconds. Records are known by partition and offset in the requests topic.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from consumer.core.completion_map import CompletionMap, CompletionMapError, decode
from tests.chaos.records import Expectation

Position = tuple[int, int]
"""Partition and offset in the requests topic."""

_KEPT_EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class Promises:
    """What is checked, in numbers.

    Attributes:
        exactly_once: Whether any repeat is a violation.
        commit_interval_s: At-least-once: how much may be repeated around an unclean fault.
        slack_s: What a commit and a publish under way add to that.
        settle_s: How long after its end a fault still explains a repeat.
        metadata_limit_characters: The brokers' ``offset.metadata.max.bytes``.
        stalled_after_s: Without an outcome for so long, a partition with work stands still.
    """

    exactly_once: bool
    commit_interval_s: float = 0.5
    slack_s: float = 1.0
    settle_s: float = 8.0
    metadata_limit_characters: int = 4096
    stalled_after_s: float = 25.0


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken."""

    rule: str
    detail: str


@dataclass(frozen=True, slots=True)
class FaultWindow:
    """A fault as it happened."""

    name: str
    start_s: float
    end_s: float
    is_clean: bool


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
        given_up: Ordinary records that ended as dead letters: a count, not a violation.
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


@dataclass(slots=True)
class _Seen:
    results: int = 0
    dead_letters: int = 0
    first_s: float = 0.0


class Checker:
    """Collects events and judges them.

    Args:
        promises: What to hold them to.
    """

    def __init__(self, promises: Promises) -> None:
        self._promises = promises
        self._expected: dict[Position, Expectation] = {}
        self._seen: dict[Position, _Seen] = {}
        self._pending: dict[int, set[int]] = {}
        self._moved_at_s: dict[int, float] = {}
        self._may_be_lost: set[Position] = set()
        self._may_repeat: Counter[Position] = Counter()
        self._repeats: list[tuple[Position, float, float]] = []
        self._firsts_s: list[float] = []
        self._faults: list[FaultWindow] = []
        self._is_faulty = False
        self._stalled: set[int] = set()
        self._hanging = 0
        self._given_up = 0
        self._violations: Counter[str] = Counter()
        self._examples: list[Violation] = []

    # --- what is seen ---

    def accepted(self, position: Position, expected: Expectation, at_s: float) -> None:
        """A record stands on the requests topic."""
        self._expected[position] = expected
        if expected is not Expectation.NONE and not self._has_outcome(position):
            partition, offset = position
            pending = self._pending.setdefault(partition, set())
            if not pending:
                self._moved_at_s[partition] = at_s
            pending.add(offset)

    def result(self, position: Position, at_s: float, *, is_given_up: bool = False) -> None:
        """A result stands on the results topic, published at ``at_s``."""
        seen = self._seen.setdefault(position, _Seen())
        seen.results += 1
        self._given_up += is_given_up and self._expected.get(position) is Expectation.RESULT
        self._outcome(position, seen, at_s, is_repeat=seen.results > 1)

    def dead_letter(self, position: Position, at_s: float) -> None:
        """A dead letter stands on its topic."""
        seen = self._seen.setdefault(position, _Seen())
        seen.dead_letters += 1
        self._outcome(position, seen, at_s, is_repeat=seen.dead_letters > 1)

    def committed(self, partition: int, offset: int, metadata: str) -> None:
        """The group had committed this before everything seen so far was read.

        Feed it only when the reader has passed the topics' ends of that moment: then each outcome
        that was acknowledged before the commit has been seen.
        """
        if len(metadata) > self._promises.metadata_limit_characters:
            self._violate("metadata_over_limit", f"{len(metadata)} characters at {offset}")
        try:
            done = decode(offset, metadata)
        except CompletionMapError as error:
            self._violate("unreadable_metadata", f"partition {partition} at {offset}: {error}")
            done = None
        for uncovered in sorted(self._pending.get(partition, ())):
            position = (partition, uncovered)
            if _covers(offset, done, uncovered) and position not in self._may_be_lost:
                self._violate("covered_without_outcome", f"{position}, committed at {offset}")

    def fault(self, window: FaultWindow) -> None:
        """A fault is over."""
        self._faults.append(window)
        self._is_faulty = False
        for partition in self._moved_at_s:
            self._moved_at_s[partition] = max(self._moved_at_s[partition], window.end_s)

    def fault_begins(self) -> None:
        """Something is about to go wrong: from here on a partition may stand still."""
        self._is_faulty = True

    def excuse_loss(self, positions: Iterable[Position]) -> None:
        """These records may have been deleted before anybody read them."""
        for position in positions:
            self._may_be_lost.add(position)
            self._pending.get(position[0], set()).discard(position[1])

    def offset_moved(self, partition: int, was: int, metadata: str, now: int) -> None:
        """Somebody has committed ``now`` in the place of ``was`` and its map, while no member ran.

        What was done from ``now`` on may be repeated once; what was not done below it is skipped.
        """
        done = decode(was, metadata)
        repeated = [o for p, o in self._seen if p == partition and o >= now]
        for offset in repeated:
            self._may_repeat[(partition, offset)] += 1
        if now > was:
            skipped = [o for o in self._pending.get(partition, ()) if o < now]
            self.excuse_loss((partition, o) for o in skipped if not _covers(was, done, o))

    def time_passed(self, now_s: float) -> None:
        """Look for partitions that stand still although nothing is wrong."""
        if self._is_faulty:
            return
        for partition, pending in self._pending.items():
            still_s = now_s - self._moved_at_s[partition]
            is_stalled = pending and still_s > self._promises.stalled_after_s
            if is_stalled and partition not in self._stalled:
                self._stalled.add(partition)
                detail = f"partition {partition}: {len(pending)} records, {still_s:.0f} s"
                self._violate("stalled", f"{detail}, e.g. offset {min(pending)}")

    def hanging(self, transactions: Iterable[str]) -> None:
        """These transactions were still open when everything was over."""
        for each in transactions:
            self._hanging += 1
            self._violate("hanging_transaction", each)

    def failed(self, rule: str, detail: str) -> None:
        """Something else is wrong that an observer found."""
        self._violate(rule, detail)

    # --- what it comes to ---

    @property
    def unfinished_records(self) -> int:
        """Accepted records without their outcome; those that may be lost are left out."""
        return sum(map(len, self._pending.values()))

    @property
    def finished_records(self) -> int:
        """Records that have an outcome."""
        return len(self._seen)

    @property
    def repeats(self) -> int:
        """Outcomes seen more than once so far, explained or not."""
        return len(self._repeats)

    @property
    def violations(self) -> Counter[str]:
        """Broken promises so far, by rule."""
        return self._violations

    def finished_below(self, partition: int) -> int:
        """Return the lowest unfinished offset of a partition, or one past the highest known."""
        pending = self._pending.get(partition)
        if pending:
            return min(pending)
        return max((o for p, o in self._expected if p == partition), default=-1) + 1

    def unfinished_of(self, partition: int) -> list[int]:
        """Return a partition's unfinished offsets, ascending."""
        return sorted(self._pending.get(partition, ()))

    def verdict(self) -> Verdict:
        """Judge the whole run; call it once, when all is over."""
        lost = [p for p in self._expected if self._is_lost(p)]
        for position in lost:
            self._violate("lost", f"{position}: {self._expected[position].value}")
        for position in self._seen.keys() - self._expected.keys() - self._may_be_lost:
            self._violate("outcome_of_nothing", f"{position} is no record of the requests topic")
        for position, seen in self._seen.items():
            expected = self._expected.get(position)
            if expected is Expectation.DEAD_LETTER and seen.results:
                self._violate("wrong_outcome", f"{position}: a result where nobody is named")
            if expected is Expectation.NONE:
                self._violate("wrong_outcome", f"{position}: an outcome of a tombstone")
        unexcused = self._unexcused_repeats()
        unexplained = 0
        if self._promises.exactly_once:
            for position, first_s, second_s in unexcused:
                self._violate("doubled", f"{position} at {first_s:.3f} and {second_s:.3f}")
        else:
            unexplained = self._judge_duplicates(unexcused)
        return Verdict(
            accepted=sum(1 for each in self._expected.values() if each is not Expectation.NONE),
            lost=len(lost),
            doubled=len({position for position, _, _ in unexcused}),
            unexplained=unexplained,
            stalled_partitions=len(self._stalled),
            hanging_transactions=self._hanging,
            given_up=self._given_up,
            violations=Counter(self._violations),
            examples=list(self._examples),
        )

    def _outcome(self, position: Position, seen: _Seen, at_s: float, *, is_repeat: bool) -> None:
        if is_repeat:
            self._repeats.append((position, seen.first_s, at_s))
        elif not seen.first_s:
            seen.first_s = at_s
            self._firsts_s.append(at_s)
        partition, offset = position
        self._moved_at_s[partition] = max(self._moved_at_s.get(partition, 0.0), at_s)
        if self._has_outcome(position):
            self._pending.get(partition, set()).discard(offset)

    def _has_outcome(self, position: Position) -> bool:
        seen = self._seen.get(position)
        if seen is None:
            return False
        match self._expected.get(position):
            case Expectation.RESULT:
                return seen.results > 0
            case Expectation.DEAD_LETTER:
                return seen.dead_letters > 0
            case Expectation.BOTH:
                return seen.results > 0 and seen.dead_letters > 0
            case _:
                return True

    def _is_lost(self, position: Position) -> bool:
        if self._expected[position] is Expectation.NONE or position in self._may_be_lost:
            return False
        return not self._has_outcome(position)

    def _unexcused_repeats(self) -> list[tuple[Position, float, float]]:
        left = Counter(self._may_repeat)
        unexcused = []
        for repeat in self._repeats:
            if left[repeat[0]] > 0:
                # A record with two messages repeats both; each list is judged by its own count.
                if self._expected.get(repeat[0]) is not Expectation.BOTH:
                    left[repeat[0]] -= 1
                continue
            unexcused.append(repeat)
        return unexcused

    def _judge_duplicates(self, repeats: list[tuple[Position, float, float]]) -> int:
        promises = self._promises
        reach_s = promises.commit_interval_s + promises.slack_s
        self._firsts_s.sort()
        by_fault: Counter[int] = Counter()
        unexplained = 0
        unclean = [each for each in self._faults if not each.is_clean]
        for position, first_s, second_s in repeats:
            for index, fault in enumerate(unclean):
                starts_s, ends_s = fault.start_s - reach_s, fault.end_s + promises.settle_s
                if starts_s <= first_s <= ends_s and second_s >= fault.start_s:
                    by_fault[index] += 1
                    break
            else:
                unexplained += 1
                at = f"at {first_s:.3f} and {second_s:.3f}"
                self._violate("unexplained_duplicate", f"{position} {at}")
        for index, duplicates in by_fault.items():
            fault = unclean[index]
            starts_s, ends_s = fault.start_s - reach_s, fault.end_s + promises.settle_s
            most = _most_within(self._firsts_s, starts_s, ends_s, reach_s)
            if duplicates > most:
                self._violate("too_many_duplicates", f"{fault.name}: {duplicates}, at most {most}")
        return unexplained

    def _violate(self, rule: str, detail: str) -> None:
        self._violations[rule] += 1
        if self._violations[rule] <= _KEPT_EXAMPLES:
            self._examples.append(Violation(rule, detail))


def _covers(committed: int, done: CompletionMap | None, offset: int) -> bool:
    if offset < committed:
        return True
    return (
        done is not None
        and committed < offset <= done.highest_completed
        and offset not in done.incomplete
    )


def _most_within(times_s: list[float], starts_s: float, ends_s: float, span_s: float) -> int:
    """Return how many of the ascending times lie in the fullest span between two moments."""
    first, last = bisect_left(times_s, starts_s), bisect_right(times_s, ends_s)
    most = 0
    for index in range(first, last):
        most = max(most, bisect_right(times_s, times_s[index] + span_s, index, last) - index)
    return most
