"""A route's limit on its rate, as one consumer keeps it. Pure: the caller has the clock.

Consumers do not talk about it: each takes the part of the limit that its partitions are of the
topic's. The parts of all consumers add up to the limit however partitions move.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from consumer.engine.counters import Counters
from handoff.chunk import STATUS_FAILED, Outcomes

BURST_S = 1.0
"""A bucket holds what the limit lets through in this time, and at least one record."""
PORTION_S = 0.1
"""A call waits until it may carry what the limit lets through in this time, or all that waits:
calls cost the same whatever they carry."""
LATELY_S = 2.0
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """A route's limits; ``None`` where there is none."""

    max_records_per_s: float | None = None
    max_tokens_per_s: float | None = None

    @property
    def is_set(self) -> bool:
        return self.max_records_per_s is not None or self.max_tokens_per_s is not None

    def records_per_s(self, tokens_per_record: float | None) -> float | None:
        """Return the lower limit in records; tokens count once a record's are known."""
        limits = [] if self.max_records_per_s is None else [self.max_records_per_s]
        if self.max_tokens_per_s is not None and tokens_per_record:
            limits.append(self.max_tokens_per_s / tokens_per_record)
        return min(limits, default=None)


NO_LIMITS = RateLimits()


class TokenBucket:
    """Fills at a rate, and holds what comes in ``BURST_S``, or ``least`` if that is more.

    It begins with ``least``: a consumer that starts, or gets partitions, brings no burst along.
    """

    def __init__(self, rate_per_s: float, least: float = 1.0) -> None:
        self.rate_per_s = rate_per_s
        self.least = least
        self.level = least
        self._owed_at_per_s = rate_per_s
        self._filled_at_s: float | None = None

    @property
    def capacity(self) -> float:
        return max(self.least, self.rate_per_s * BURST_S)

    def fill(self, now_s: float) -> None:
        if self._filled_at_s is not None:
            self.level += self.rate_per_s * max(0.0, now_s - self._filled_at_s)
        self._filled_at_s = now_s
        self.level = min(self.level, self.capacity)

    def set_rate(self, rate_per_s: float) -> None:
        """Fill at another rate; what is owed takes as long as before."""
        self.rate_per_s = rate_per_s
        if rate_per_s:
            if self.level < 0 and self._owed_at_per_s:
                self.level *= rate_per_s / self._owed_at_per_s
            self._owed_at_per_s = rate_per_s
        self.level = min(self.level, self.capacity)

    def due_in_s(self, level: float) -> float:
        if not self.rate_per_s:
            return math.inf
        return max(0.0, level - self.level) / self.rate_per_s


class _Charge(NamedTuple):
    records: int
    tokens_each: float


class RateLimiter:
    """Says how many records may go out now; both limits hold.

    A record's tokens are known once it is answered. Until then it counts as the mean of
    ``counters``, and is charged the difference afterwards: the limit holds over time. Before the
    first count one record goes out alone, and one more for each that the model ended without a
    count: a model that counts no tokens is soon not limited by them.

    Attributes:
        is_on: The route has a limit.
        is_holding: The limit is why the last question was answered with 0.
        next_at_s: When to ask again, in monotonic seconds, if time alone will help.
    """

    def __init__(self, limits: RateLimits, counters: Counters) -> None:
        self._counters = counters
        self._share = 1.0
        self._records: TokenBucket | None = None
        self._tokens: TokenBucket | None = None
        self._charged: dict[int, _Charge] = {}
        self._uncounted_records = 0
        self.limits = NO_LIMITS
        self.is_on = False
        self.is_holding = False
        self.next_at_s: float | None = None
        self._held_at_s = -math.inf
        self.set_limits(limits)

    @property
    def share(self) -> float:
        return self._share

    def set_limits(self, limits: RateLimits) -> None:
        """Go on with other limits, at once."""
        self.limits = limits
        self.is_on = limits.is_set
        self._records = self._bucket(self._records, limits.max_records_per_s)
        self._tokens = self._bucket(self._tokens, limits.max_tokens_per_s)
        self.ask_anew()

    def set_share(self, assigned_partitions: int, topic_partitions: int) -> None:
        of = max(assigned_partitions, topic_partitions)
        self._share = assigned_partitions / of if of else 1.0
        self.set_limits(self.limits)

    def ask_anew(self) -> None:
        """Forget the last answer: something else decides whether a call goes out."""
        self.is_holding = False
        self.next_at_s = None

    def room_records(self, wanted: int, now_s: float, *, is_whole: bool = False) -> int:
        """Return how many of ``wanted`` records may go out in a call now; 0 to wait.

        ``is_whole`` if they can only go together: then they go once the bucket holds as many, or
        is full.
        """
        room = wanted
        due_in_s = 0.0
        if self._records is not None:
            room = self._room_in(self._records, 1.0, room, now_s, is_whole=is_whole)
            due_in_s = self._due_in_s(self._records, 1.0, wanted, is_whole=is_whole)
        if self._tokens is not None:
            mean = self._mean_tokens
            if mean is None:
                # An answer, and no moment, says when to ask again.
                in_flight = sum(each.records for each in self._charged.values())
                room = min(room, 1 + self._uncounted_records - in_flight)
            else:
                self._tokens.least = mean
                room = self._room_in(self._tokens, mean, room, now_s, is_whole=is_whole)
                due_in_s = max(
                    due_in_s, self._due_in_s(self._tokens, mean, wanted, is_whole=is_whole)
                )
        self.is_holding = room <= 0
        self.next_at_s = now_s + due_in_s if self.is_holding and due_in_s else None
        if room < wanted:
            self._held_at_s = now_s
        return wanted if is_whole and room > 0 else max(0, room)

    def take(self, call: int, records: int) -> None:
        """Charge what goes out in a call."""
        if self._records is not None:
            self._records.level -= records
        if self._tokens is not None:
            each = self._mean_tokens or 0.0
            self._tokens.level -= records * each
            self._charged[call] = _Charge(records, each)

    def heard(self, call: int, outcomes: Outcomes) -> None:
        """Charge the tokens that answered records really took.

        A call of before the limit costs nothing: what was in flight then would be owed for long.
        """
        charge = self._charged.get(call)
        if self._tokens is None or charge is None:
            return
        if outcomes.measured_records:
            estimate = outcomes.measured_records * charge.tokens_each
            self._tokens.level -= outcomes.measured_tokens - estimate
        else:
            # A failure does not say whether the model counts.
            self._uncounted_records += sum(each < STATUS_FAILED for each in outcomes.statuses)

    def ended(self, call: int) -> None:
        self._charged.pop(call, None)

    def has_held(self, now_s: float) -> bool:
        """Return whether a limit holds records back, now or a moment ago."""
        return self.is_on and (self.is_holding or now_s - self._held_at_s <= LATELY_S)

    def describe(self) -> str:
        """Return the limits for a person, e.g. ``50 records/s``."""
        limits = (
            (self.limits.max_records_per_s, "records/s"),
            (self.limits.max_tokens_per_s, "tokens/s"),
        )
        return " and ".join(f"{limit:g} {unit}" for limit, unit in limits if limit is not None)

    @property
    def _mean_tokens(self) -> float | None:
        counters = self._counters
        if not counters.measured_records:
            return None
        return max(1.0, counters.measured_tokens / counters.measured_records)

    def _bucket(self, now: TokenBucket | None, limit: float | None) -> TokenBucket | None:
        if limit is None:
            return None
        if now is None:
            return TokenBucket(limit * self._share)
        now.set_rate(limit * self._share)
        return now

    def _least(self, bucket: TokenBucket, each: float, wanted: int, *, is_whole: bool) -> float:
        """Return the level at which a call goes out."""
        portion = (
            wanted if is_whole else min(wanted, max(1, int(bucket.rate_per_s * PORTION_S / each)))
        )
        return min(portion * each, bucket.capacity)

    def _room_in(
        self, bucket: TokenBucket, each: float, wanted: int, now_s: float, *, is_whole: bool
    ) -> int:
        bucket.fill(now_s)
        if bucket.level + _ROUNDING < self._least(bucket, each, wanted, is_whole=is_whole):
            return 0
        return min(wanted, max(1, int((bucket.level + _ROUNDING) / each)))

    def _due_in_s(self, bucket: TokenBucket, each: float, wanted: int, *, is_whole: bool) -> float:
        return bucket.due_in_s(self._least(bucket, each, wanted, is_whole=is_whole))
