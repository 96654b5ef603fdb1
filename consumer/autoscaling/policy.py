"""The scaling policy of models and consumers: the backlog has to be done within a time."""

import math
from collections import deque
from dataclasses import dataclass

from consumer.autoscaling.decision import Clamp, Decision
from consumer.autoscaling.lag import seconds_left
from consumer.autoscaling.learning import Arrivals, ColdStart, Throughput
from consumer.autoscaling.sizing import replicas_to_drain

SAFETY = 0.85
"""The part of the drain target, less a cold start, to plan for: rates and start times vary."""
LEAST_HELP = 0.25
"""A replica is started only for at least this part of the drain target of work."""
LAST_STRETCH = 0.05
"""What is left at the aim, or shortly before it, has to be done in this part of the target."""
SPARE_REPLICA = 0.1
"""A tenth of a replica is not worth a replica."""
SPARE_SHARE = 0.05
"""Nor is this part of all of them; both ways, so that the target does not oscillate."""
LAST_REPLICA = 0.01
"""Wanted while calls end: it rounds to one replica."""
NEAR_LIMIT = 0.95
"""Replicas that do this part of the limit may be able to do more: that is no measurement."""
_LEAST_IDLE_S = 20.0
_MOST_IDLE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """The input of a decision.

    Attributes:
        arrived_records: Records that have arrived since some fixed moment.
        done_records: Records done since then.
        is_fresh: Whether the lag was read since the last decision; False holds the target.
        partitions: Of the topic, for consumers; ``None`` if they do not matter.
        parallel_records: The most records that may be in flight; ``None`` if unbounded or unknown.
        most_records_per_s: What the limits of all routes let through; ``None`` if one has none.
        is_limited: Those limits, and not the replicas, are why no more is done.
        remaining_tokens: The remaining records in tokens, if a mean is known; only reported.
    """

    now_s: float
    running: int
    remaining_records: int
    arrived_records: int
    done_records: int
    is_fresh: bool = True
    partitions: int | None = None
    parallel_records: int | None = None
    most_records_per_s: float | None = None
    is_limited: bool = False
    remaining_tokens: int | None = None
    ongoing_calls: float = 0.0
    notes: tuple[str, ...] = ()


class DrainPolicy:
    """Decides how many replicas there should be; owns its measurements.

    It scales up at once, by as many as are needed, and down to the most that was wanted within the
    time for which a spare replica is kept. That time is by default a cold start: keeping a replica
    for as long as its restart would take never costs more than twice the optimum (the ski-rental
    rule: Karlin et al., "Competitive snoopy caching", 1988). It is a minute at most: a burst seldom
    follows the last one so soon, and in the simulator a longer time did not pay.

    Args:
        drain_target_s: A record has to be done within this time after its arrival.
        downscale_delay_s: For how long a spare replica is kept; ``None`` for a cold start.
        expected_records_per_s: A replica's throughput until it is measured, if known.
        expected_cold_start_s: How long one starts until it is measured.
    """

    def __init__(
        self,
        *,
        min_replicas: int,
        max_replicas: int,
        drain_target_s: float,
        downscale_delay_s: float | None = None,
        expected_records_per_s: float | None = None,
        expected_cold_start_s: float = 30.0,
    ) -> None:
        self._min = min_replicas
        self._max = max_replicas
        self._drain_target_s = drain_target_s
        self._downscale_delay_s = downscale_delay_s
        self._arrivals = Arrivals()
        self._throughput = Throughput(expected_records_per_s)
        self._cold_start = ColdStart(expected_cold_start_s)
        self._has_tried_one_more = False
        self._last_done = (0.0, 0)
        # (seconds, wanted), descending in wanted: the first is the most within the delay.
        self._recent: deque[tuple[float, int]] = deque()

    @property
    def keep_spare_s(self) -> float:
        if self._downscale_delay_s is not None:
            return self._downscale_delay_s
        return min(_MOST_IDLE_S, max(_LEAST_IDLE_S, self._cold_start.seconds))

    def look(self, now_s: float, target: int, running: int) -> None:
        """Note what runs, between decisions too, to measure how long a replica starts."""
        self._cold_start.look(now_s, target, running)

    def decide(self, signals: Signals, target: int) -> Decision:
        now_s = signals.now_s
        self._cold_start.observe(now_s, signals.running)
        if not signals.is_fresh:
            return self._decision(signals, target, target, float(target), Clamp.HELD)
        self._arrivals.observe(now_s, signals.arrived_records, signals.remaining_records)
        # Held back by a limit, replicas show less than they can do: as if they had too little work.
        busy_records = 0 if self._is_at_limit(signals) else signals.remaining_records
        self._throughput.observe(now_s, signals.done_records, busy_records, signals.running)
        wanted = self._wanted(signals, target)
        bounded, clamp = self._bound(_whole(wanted, target), signals)
        decided = self._slowly_down(bounded, target, now_s)
        if decided != bounded:
            clamp = Clamp.DOWNSCALE_DELAY
        self._cold_start.asked(now_s, decided, signals.running)
        return self._decision(signals, target, decided, wanted, clamp)

    def _is_at_limit(self, signals: Signals) -> bool:
        (last_s, last_done), self._last_done = (
            self._last_done,
            (signals.now_s, signals.done_records),
        )
        most = signals.most_records_per_s
        if most is None or signals.is_limited:
            return signals.is_limited
        elapsed_s = signals.now_s - last_s
        return signals.done_records - last_done >= NEAR_LIMIT * most * elapsed_s

    def _wanted(self, signals: Signals, target: int) -> float:
        rate = self._throughput.records_per_s
        arriving = self._arrivals.records_per_s
        if not signals.remaining_records and not arriving:
            # Serve starts a replica while it counts a call, so stopping the last one earlier would
            # only cost a start.
            return LAST_REPLICA if signals.ongoing_calls > 0 else 0.0
        if rate is None:
            return self._until_measured(signals, target)
        return self._to_drain(signals, rate)

    def _until_measured(self, signals: Signals, target: int) -> float:
        """Return the present number, or one more if the highest rate seen is too low.

        A replica's rate is known one reading after it had enough to do; a burst need not wait for
        that. The highest rate seen may be far below its capacity, so it justifies only one more.
        """
        held = float(max(1, target))
        least_records_per_s = self._throughput.at_least_records_per_s
        if least_records_per_s is None or self._has_tried_one_more:
            return held
        wanted = min(held + 1, max(held, self._to_drain(signals, least_records_per_s)))
        self._has_tried_one_more = wanted > held
        return wanted

    def _to_drain(self, signals: Signals, rate: float) -> float:
        left_s = self._aim_s() - self._arrivals.oldest_s(signals.now_s)
        return replicas_to_drain(
            remaining_records=signals.remaining_records,
            arrival_records_per_s=self._arrivals.records_per_s,
            replica_records_per_s=rate,
            running=signals.running,
            starting_s=self._cold_start.starting_s(signals.now_s),
            cold_start_s=self._cold_start.seconds,
            horizon_s=max(left_s, LAST_STRETCH * self._drain_target_s),
            least_help_s=LEAST_HELP * self._drain_target_s,
        )

    def _aim_s(self) -> float:
        """Return when a record that arrives now should be done: the target less a margin."""
        start_s = min(self._cold_start.seconds, self._drain_target_s)
        return start_s + SAFETY * (self._drain_target_s - start_s)

    def _bound(self, wanted: int, signals: Signals) -> tuple[int, Clamp]:
        most, clamp = self._max, Clamp.MAX_REPLICAS
        if signals.partitions is not None and signals.partitions < most:
            most, clamp = signals.partitions, Clamp.PARTITIONS
        # One record may always be in flight, also one that has just arrived; and replicas that are
        # kept to save a start are kept whatever the order of records.
        least = max(1, self._min)
        enough = self._enough_for_limit(signals)
        if enough is not None and max(least, enough) < most:
            most, clamp = max(least, enough), Clamp.RATE_LIMIT
        if signals.parallel_records is not None and max(least, signals.parallel_records) < most:
            most, clamp = max(least, signals.parallel_records), Clamp.PARALLELISM
        if wanted > most:
            return most, clamp
        if wanted < self._min:
            return min(self._min, most), Clamp.MIN_REPLICAS
        return wanted, Clamp.NOTHING

    def _enough_for_limit(self, signals: Signals) -> int | None:
        """Return how many replicas do what the limits let through; ``None`` without limits."""
        if signals.most_records_per_s is None:
            return None
        rate = self._throughput.records_per_s or self._throughput.at_least_records_per_s
        return math.ceil(signals.most_records_per_s / rate) if rate else max(1, signals.running)

    def _slowly_down(self, wanted: int, target: int, now_s: float) -> int:
        while self._recent and self._recent[-1][1] <= wanted:
            self._recent.pop()
        self._recent.append((now_s, wanted))
        while self._recent[0][0] < now_s - self.keep_spare_s:
            self._recent.popleft()
        if wanted >= target:
            return wanted
        # A number that was never wanted was set by a person: it ends after the delay too.
        return min(target, self._recent[0][1])

    def _decision(
        self, signals: Signals, previous: int, target: int, wanted: float, clamp: Clamp
    ) -> Decision:
        rate = self._throughput.records_per_s
        return Decision(
            target=target,
            previous=previous,
            running=signals.running,
            wanted=wanted,
            clamp=clamp,
            remaining_records=signals.remaining_records,
            remaining_s=seconds_left(
                signals.remaining_records, None if rate is None else rate * signals.running
            ),
            remaining_tokens=signals.remaining_tokens,
            oldest_s=self._arrivals.oldest_s(signals.now_s),
            arrival_records_per_s=self._arrivals.records_per_s,
            replica_records_per_s=rate,
            cold_start_s=self._cold_start.seconds,
            ongoing_calls=signals.ongoing_calls,
            notes=signals.notes,
        )


def _whole(wanted: float, target: int) -> int:
    if wanted <= 0:
        return 0
    up = max(1, math.ceil(wanted / (1 + SPARE_SHARE) - SPARE_REPLICA))
    down = math.ceil(wanted * (1 + SPARE_SHARE))
    return up if up > target else min(target, down)
