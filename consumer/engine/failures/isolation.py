"""Isolation: which of the records that failed together is the cause, at no other's expense.

A replica that dies fails all of its calls, so most records of a failed call are innocent. Failed
records wait for a backoff and are called again, in smaller company with each step:

1. Records whose own call was the cause are split into eighths. Calls that were lost together
   go again unchanged: splitting each would multiply the calls and isolate nothing.
2. A record with two failed attempts is a suspect. Suspects go one call at a time: what fails
   with such a call is in it.
3. A record's last possible attempt has the model to itself. Only a record that fails there, or
   by itself, is given up.

While the model as a whole is down (``CircuitBreaker``), no failed attempt counts.
"""

import random
from collections import deque
from enum import Enum, IntEnum, StrEnum
from itertools import chain
from typing import TypeVar

from consumer.engine.failures.retry import Failure, RetryPolicy
from consumer.engine.happenings import SUSPECTED, Happenings
from consumer.engine.record_state import Step, next_state
from consumer.engine.schedule import Schedule
from consumer.engine.work import Call, WorkItem
from handoff.breaker import CircuitBreaker

Item = TypeVar("Item")

ISOLATION_FACTOR = 8
"""Each step splits a chunk into this many: a record that kills its replica is alone after three
failures of a chunk of 256, and its neighbours go free."""
SUSPECT_ATTEMPTS = 2
"""One failed attempt may be an ordinary loss of a replica; from here on the record is a suspect."""


class Suspicion(IntEnum):
    """How likely a record is the cause of its failures."""

    NONE = 0
    """It has not failed, or only while the model was down for others too."""
    SOME = 1
    """It has failed once, or only by timeouts: a call that is overdue fails no other."""
    STRONG = 2
    """It is a suspect."""


class Cause(Enum):
    ANYWHERE = "anywhere"
    """In these records, or in another call of the replica."""
    AMONG_THESE = "among_these"
    """In one of these records."""
    THIS_RECORD = "this_record"
    """In the one record that failed."""


class NextStep(StrEnum):
    GIVE_UP = "give_up"
    """It is dead-lettered now."""
    AGAIN = "again"
    """It is called again after a backoff; the failed attempt counts."""
    AGAIN_UNBLAMED = "again_unblamed"
    """It is called again after a backoff; nothing counts against it."""


def next_step(
    failure: Failure,
    *,
    policy: RetryPolicy,
    is_blamed: bool,
    failed_attempts: int,
    cause: Cause,
) -> NextStep:
    """Decide about one failed record, which has had ``failed_attempts`` before.

    A record that failed in company is called alone before it is given up, however many failed
    attempts it has: a neighbour may be the cause. ``is_blamed`` is False while the model is down.
    """
    if failure is Failure.UNAVAILABLE:
        return NextStep.AGAIN_UNBLAMED
    if failure is Failure.UNRECOVERABLE or failure not in policy.retried:
        return NextStep.GIVE_UP
    if not is_blamed:
        return NextStep.AGAIN_UNBLAMED
    is_last = failed_attempts + 1 >= policy.max_attempts
    return NextStep.GIVE_UP if cause is Cause.THIS_RECORD and is_last else NextStep.AGAIN


def split_for_isolation(items: list[Item]) -> list[list[Item]]:
    size = max(1, len(items) // ISOLATION_FACTOR)
    return [items[start : start + size] for start in range(0, len(items), size)]


def suspicion_of(items: list[WorkItem]) -> Suspicion:
    if any(item.failed_attempts - item.timeouts >= SUSPECT_ATTEMPTS for item in items):
        return Suspicion.STRONG
    return Suspicion.SOME if any(item.failed_attempts for item in items) else Suspicion.NONE


class Isolation:
    def __init__(
        self, policy: RetryPolicy, jitter: random.Random, happenings: Happenings | None = None
    ) -> None:
        self._policy = policy
        self._happenings = happenings or Happenings()
        self._jitter = jitter
        self._delayed: Schedule[list[WorkItem]] = Schedule()
        self._ready: dict[Suspicion, deque[list[WorkItem]]] = {each: deque() for each in Suspicion}
        self._ready_records = dict.fromkeys(Suspicion, 0)
        self._only_call: Call | None = None
        self._suspect_call: Call | None = None
        self._is_reserved = False
        self.breaker = CircuitBreaker()

    def take_back(
        self,
        items: list[WorkItem],
        failure: Failure,
        cause: Cause,
        now_s: float,
        *,
        has_timed_out: bool = False,
    ) -> list[WorkItem]:
        """Schedule the next calls of records that failed together; return those to give up."""
        again: list[WorkItem] = []
        given_up: list[WorkItem] = []
        for item in items:
            item.first_failed_at_s = item.first_failed_at_s or now_s
            step = next_step(
                failure,
                policy=self._policy,
                is_blamed=self.breaker.blames(item.first_failed_at_s, now_s),
                failed_attempts=item.failed_attempts,
                cause=cause,
            )
            if step is NextStep.GIVE_UP:
                given_up.append(item)
                continue
            if step is NextStep.AGAIN:
                item.failed_attempts += 1
                item.timeouts += has_timed_out
                if item.failed_attempts - item.timeouts == SUSPECT_ATTEMPTS and not has_timed_out:
                    self._happenings.note(SUSPECTED, failure.value, item)
            item.state = next_state(item.state, Step.RETRY)
            again.append(item)
        # A full replica proves no record's fault; together the records may find room.
        splits = cause is not Cause.ANYWHERE and failure is not Failure.UNAVAILABLE
        for group in split_for_isolation(again) if splits else filter(None, [again]):
            delay_s = self._policy.backoff_s(group[0].attempts, self._jitter)
            self._delayed.add(now_s + delay_s, group)
        return given_up

    def add(self, group: list[WorkItem]) -> None:
        suspicion = suspicion_of(group)
        self._ready[suspicion].append(group)
        self._ready_records[suspicion] += len(group)

    def advance(self, now_s: float) -> None:
        for group in self._delayed.take_due(now_s):
            wanted = [item for item in group if not item.is_decided]
            if wanted:
                self.add(wanted)

    def next_at_s(self) -> float | None:
        return self._delayed.next_at()

    def ready_records(self, most: Suspicion = Suspicion.STRONG) -> int:
        return sum(self._ready_records[each] for each in Suspicion if each <= most)

    def delayed(self) -> list[WorkItem]:
        return [item for group in self._delayed.items() for item in group]

    def waiting(self) -> list[WorkItem]:
        groups = chain.from_iterable(self._ready.values())
        return [*self.delayed(), *chain.from_iterable(groups)]

    def drop_decided(self) -> None:
        for suspicion, groups in self._ready.items():
            kept = ([item for item in group if not item.is_decided] for group in groups)
            self._ready[suspicion] = deque(group for group in kept if group)
            self._ready_records[suspicion] = sum(map(len, self._ready[suspicion]))

    def clear(self) -> None:
        self._delayed.clear()

    def most_suspicion(self, new_records: int) -> Suspicion:
        """Return how much the records of the next call may be suspected.

        One suspect is tried at a time. A model that is down is tried with the least suspected
        waiting records, new ones first: an answer to them proves most, and their failure costs no
        attempt.
        """
        if not self.breaker.is_open:
            return Suspicion.STRONG if self._suspect_call is None else Suspicion.SOME
        if new_records:
            return Suspicion.NONE
        return next((each for each in Suspicion if self._ready_records[each]), Suspicion.STRONG)

    def next_group(self, most: Suspicion) -> list[WorkItem] | None:
        """Return the most suspected group that may be called next; it stays here."""
        groups = (self._ready[each] for each in reversed(Suspicion) if each <= most)
        return next((waiting[0] for waiting in groups if waiting), None)

    def take(self, group: list[WorkItem]) -> None:
        for suspicion, waiting in self._ready.items():
            if waiting and waiting[0] is group:
                waiting.popleft()
                self._ready_records[suspicion] -= len(group)

    def may_start(self, group: list[WorkItem] | None, calls_in_flight: int) -> bool:
        """Return whether a call may start beside others; a failed ``group`` goes next."""
        if not calls_in_flight:
            return True
        return not self._is_reserved and (group is None or not self._is_last_attempt(group))

    def started(self, call: Call, items: list[WorkItem], calls_in_flight: int) -> None:
        self._only_call = call if calls_in_flight == 1 else None
        self._is_reserved = calls_in_flight == 1 and self._is_last_attempt(items)
        if suspicion_of(items) is Suspicion.STRONG:
            self._suspect_call = call

    def ended(self, call: Call) -> Cause:
        """Note that a call ended; return where the cause is if its replica was lost."""
        cause = self.cause_of_loss(call)
        if self._only_call is call:
            self._only_call, self._is_reserved = None, False
        if self._suspect_call is call:
            self._suspect_call = None
        return cause

    def cause_of_loss(self, call: Call) -> Cause:
        """Return where the cause is if the replica of a call was lost."""
        is_only, is_suspect = self._only_call is call, self._suspect_call is call
        # A dying replica fails other calls too; one that is silent fails only this one.
        if is_only or call.overdue is not None:
            return Cause.THIS_RECORD if call.records == 1 else Cause.AMONG_THESE
        return Cause.AMONG_THESE if is_suspect else Cause.ANYWHERE

    def _is_last_attempt(self, group: list[WorkItem]) -> bool:
        """Return whether this is the record's last attempt, so that no call may run beside it.

        A call that is overdue fails no other. So a record with timeouts only goes beside others to
        the end, or each such record would stop the route for as long as it hangs.
        """
        if len(group) != 1 or group[0].failed_attempts == group[0].timeouts:
            return False
        failed_attempts = group[0].failed_attempts
        return failed_attempts >= SUSPECT_ATTEMPTS and (
            failed_attempts + 1 >= self._policy.max_attempts
        )
