"""Compares what is on the topics and in the group with what the service promises. Pure.

It gets events in the order in which a ``read_committed`` reader sees them. Times are epoch seconds.
Records are identified by partition and offset in the requests topic.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from consumer.engine.offsets.completion_map import CompletionMap, CompletionMapError, decode
from tests.chaos.checks.duplicates import UNEXPLAINED, Repeat, judge_duplicates
from tests.chaos.checks.promises import FaultWindow, Position, Promises, Verdict, Violation
from tests.chaos.load.records import Expectation

_KEPT_EXAMPLES = 20


@dataclass(slots=True)
class _Seen:
    results: int = 0
    dead_letters: int = 0
    first_s: float = 0.0


class Checker:
    """Collects events and judges them.

    Args:
        promises: The limits to check.
    """

    def __init__(self, promises: Promises) -> None:
        self._promises = promises
        self._expected: dict[Position, Expectation] = {}
        self._accepted_s: dict[Position, float] = {}
        self._seen: dict[Position, _Seen] = {}
        self._pending: dict[int, set[int]] = {}
        self._moved_at_s: dict[int, float] = {}
        self._may_be_lost: set[Position] = set()
        self._may_repeat: Counter[Position] = Counter()
        self._repeats: list[Repeat] = []
        self._firsts_s: dict[int, list[float]] = {}
        self._faults: list[FaultWindow] = []
        self._is_disturbed = False
        self._stalled: set[int] = set()
        self._hanging = 0
        self._gone: set[int] = set()
        self._given_up: list[tuple[Position, float]] = []
        self._models_down_s: list[tuple[float, float]] = []
        self._violations: Counter[str] = Counter()
        self._examples: list[Violation] = []

    # --- what is seen ---

    def accepted(self, position: Position, expected: Expectation, at_s: float) -> None:
        """A record is on the requests topic."""
        self._expected[position] = expected
        self._accepted_s[position] = at_s
        if position[0] in self._gone:
            self._may_be_lost.add(position)
        is_awaited = expected is not Expectation.NONE and position not in self._may_be_lost
        if is_awaited and not self._has_outcome(position):
            partition, offset = position
            pending = self._pending.setdefault(partition, set())
            if not pending:
                self._moved_at_s[partition] = at_s
            pending.add(offset)

    def result(self, position: Position, at_s: float, *, is_given_up: bool = False) -> None:
        """A result is on the results topic, published at ``at_s``."""
        seen = self._seen.setdefault(position, _Seen())
        seen.results += 1
        if is_given_up:
            self._given_up.append((position, at_s))
        self._outcome(position, seen, at_s, is_repeat=seen.results > 1)

    def dead_letter(self, position: Position, at_s: float) -> None:
        """A dead letter is on its topic."""
        seen = self._seen.setdefault(position, _Seen())
        seen.dead_letters += 1
        self._outcome(position, seen, at_s, is_repeat=seen.dead_letters > 1)

    def committed(self, partition: int, offset: int, metadata: str) -> None:
        """The group had committed this before everything seen so far was read.

        Call it only when the reader has passed the ends that the topics had then: each outcome that
        was acknowledged before the commit has then been seen.
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

    def fault_begins(self, *, is_disturbing: bool = True) -> None:
        """A fault begins. If it disturbs group or brokers, partitions may stand still."""
        self._is_disturbed = is_disturbing

    def fault(self, window: FaultWindow) -> None:
        """A fault has ended."""
        self._faults.append(window)
        self._is_disturbed = False

    def model_down(self, from_s: float, until_s: float) -> None:
        """A model replica was down: calls may have failed, and healthy records with them."""
        self._models_down_s.append((from_s, until_s))

    def excuse_loss(self, positions: Iterable[Position]) -> None:
        """These records may have been deleted before any consumer read them."""
        for position in positions:
            self._may_be_lost.add(position)
            self._pending.get(position[0], set()).discard(position[1])

    def deleted(self, partitions: Iterable[int]) -> None:
        """These partitions are about to be deleted, with all records unread or unanswered.

        Outcomes of records that were done may still come, as often as at any time.
        """
        for partition in partitions:
            self._gone.add(partition)
            unfinished = self._pending.get(partition, ())
            self.excuse_loss([(partition, offset) for offset in unfinished])

    def offset_moved(self, partition: int, was: int, metadata: str, now: int) -> None:
        """Someone committed ``now`` in place of ``was`` and its map, while no member ran.

        What was done from ``now`` on may be repeated once. What was not done below it is skipped.
        """
        done = decode(was, metadata)
        repeated = [o for p, o in self._seen if p == partition and o >= now]
        for offset in repeated:
            self._may_repeat[(partition, offset)] += 1
        if now > was:
            skipped = [o for o in self._pending.get(partition, ()) if o < now]
            self.excuse_loss((partition, o) for o in skipped if not _covers(was, done, o))

    def time_passed(self, now_s: float) -> None:
        """Look for partitions that stand still although group and brokers are undisturbed.

        A disturbing fault stops the clock and does not set it back. Otherwise a partition could
        stand still for a whole schedule, if a fault came every few seconds.
        """
        if self._is_disturbed:
            return
        for partition, pending in self._pending.items():
            moved_at_s = self._moved_at_s[partition]
            still_s = now_s - moved_at_s - self._disturbed_s(moved_at_s)
            is_stalled = pending and still_s > self._promises.stalled_after_s
            if is_stalled and partition not in self._stalled:
                self._stalled.add(partition)
                detail = f"partition {partition}: {len(pending)} records, {still_s:.0f} s"
                self._violate("stalled", f"{detail}, e.g. offset {min(pending)}")

    def hanging(self, transactions: Iterable[str]) -> None:
        """These transactions were still open at the end."""
        for each in transactions:
            self._hanging += 1
            self._violate("hanging_transaction", each)

    def failed(self, rule: str, detail: str) -> None:
        """An observer found something else wrong."""
        self._violate(rule, detail)

    # --- the verdict ---

    @property
    def unfinished_records(self) -> int:
        """Accepted records without their outcome, except those that may be lost."""
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

    def latest_outcome_s(self, partition: int) -> float:
        """Return when a partition's latest record to finish was published; 0 if none was."""
        return max(self._firsts_s.get(partition, (0.0,))[-100:])

    def unfinished_of(self, partition: int) -> list[int]:
        """Return a partition's unfinished offsets, ascending."""
        return sorted(self._pending.get(partition, ()))

    def verdict(self) -> Verdict:
        """Judge the whole run. Call it once, at the end."""
        lost = [p for p in self._expected if self._is_lost(p)]
        for position in lost:
            self._violate("lost", f"{position}: {self._expected[position].value}")
        unknown = self._seen.keys() - self._expected.keys() - self._may_be_lost
        # The reader may not have reached what was deleted with its topic.
        for position in [each for each in unknown if each[0] not in self._gone]:
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
        given_up = self._judge_given_up()
        return Verdict(
            accepted=sum(1 for each in self._expected.values() if each is not Expectation.NONE),
            lost=len(lost),
            doubled=len({position for position, _, _ in unexcused}),
            unexplained=unexplained,
            stalled_partitions=len(self._stalled),
            hanging_transactions=self._hanging,
            given_up=given_up,
            violations=Counter(self._violations),
            examples=list(self._examples),
        )

    def _outcome(self, position: Position, seen: _Seen, at_s: float, *, is_repeat: bool) -> None:
        partition, offset = position
        if is_repeat:
            self._repeats.append((position, seen.first_s, at_s))
        elif not seen.first_s:
            seen.first_s = at_s
            self._firsts_s.setdefault(partition, []).append(at_s)
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

    def _unexcused_repeats(self) -> list[Repeat]:
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

    def _judge_duplicates(self, repeats: list[Repeat]) -> int:
        firsts_s = {partition: sorted(times_s) for partition, times_s in self._firsts_s.items()}
        found = judge_duplicates(repeats, self._faults, firsts_s, self._promises)
        for each in found:
            self._violate(each.rule, each.detail)
        return sum(each.rule == UNEXPLAINED for each in found)

    def _judge_given_up(self) -> int:
        """Return how many ordinary records were given up; none may be unless a replica was lost."""
        ordinary = [e for e in self._given_up if self._expected.get(e[0]) is Expectation.RESULT]
        for position, ended_s in ordinary:
            accepted_s = self._accepted_s[position]
            if not any(
                start <= ended_s and end >= accepted_s for start, end in self._models_down_s
            ):
                self._violate("given_up", f"{position}: no model replica was down in its time")
        return len(ordinary)

    def _disturbed_s(self, since_s: float) -> float:
        spans = (
            each.end_s - max(each.start_s, since_s) for each in self._faults if each.is_disturbing
        )
        return sum(span for span in spans if span > 0)

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
