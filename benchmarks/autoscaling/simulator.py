"""Records that arrive, replicas that start, work and stop: hours of them in milliseconds.

Time goes in steps of a policy's period. Records are a fluid that is served first in, first out. A
replica's rate varies from step to step, and so does its cold start. A replica is paid for from when
it is asked for until it stops.
"""

import heapq
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

_RATE_DEVIATION = 0.15
_COLD_START_SPREAD = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a policy may see: the state at the end of the step before.

    Attributes:
        now_s: Simulated seconds.
        running: Replicas that run.
        remaining_records: Not done.
        arrived_records: Since the start.
        done_records: Since the start.
    """

    now_s: float
    running: int
    remaining_records: int
    arrived_records: int
    done_records: int


class Scaler(Protocol):
    """A scaling policy under simulation."""

    def decide(self, view: View, target: int) -> int:
        """Return how many replicas there should be; ``target`` is the current target."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What is scaled.

    Attributes:
        replica_records_per_s: What a replica does, on average.
        cold_start_s: How long one takes to start, on average.
        drain_target_s: Within this, arrivals must be finished.
        min_replicas: Never fewer.
        max_replicas: Never more.
        partitions: Of the topic, if consumers are scaled; ``None`` for models.
        step_s: A policy's period.
        lump_s: A replica finishes its records all at once, each time this long has passed, like
            long generations side by side; 0 for one after the other.
    """

    replica_records_per_s: float
    cold_start_s: float
    drain_target_s: float
    min_replicas: int = 0
    max_replicas: int = 40
    partitions: int | None = None
    step_s: float = 2.0
    lump_s: float = 0.0

    @property
    def most_replicas(self) -> int:
        """How many can work: no more than there are partitions."""
        return min(self.max_replicas, self.partitions or self.max_replicas)


@dataclass(slots=True)
class Burst:
    """Records that arrive at once, and their outcome.

    Attributes:
        at_s: When.
        records: How many.
        is_feasible: Whether scaling to the maximum at once could meet the drain target.
        drained_s: How long until the last was done; ``None`` if the run ended first.
        direction_changes: How often the target turned, from its arrival to the next burst's.
    """

    at_s: float
    records: int
    is_feasible: bool = False
    drained_s: float | None = None
    direction_changes: int = 0


@dataclass(slots=True)
class Run:
    """The result of a simulation.

    Attributes:
        hours: Simulated.
        replica_s: Replica-seconds paid for.
        records: That arrived.
        late_share: Of the steps with work, those whose oldest record was over the drain target.
        direction_changes: Turns of the target, in all.
        bursts: Each of them.
        time_s: Of each step, if a trace was asked for; so the next two.
        remaining: Records that were not done.
        replicas: That ran.
    """

    hours: float
    replica_s: float = 0.0
    records: int = 0
    late_share: float = 0.0
    direction_changes: int = 0
    bursts: list[Burst] = field(default_factory=list)
    time_s: list[float] = field(default_factory=list)
    remaining: list[int] = field(default_factory=list)
    replicas: list[int] = field(default_factory=list)

    def met_share(self, drain_target_s: float) -> float:
        """Return the share of feasible bursts that met the target; without bursts, of steps."""
        feasible = [each for each in self.bursts if each.is_feasible]
        if not self.bursts:
            return 1.0 - self.late_share
        met = sum(
            1
            for each in feasible
            if each.drained_s is not None and each.drained_s <= drain_target_s
        )
        return met / len(feasible) if feasible else 1.0

    @property
    def most_direction_changes(self) -> int:
        """The most turns of the target for one burst."""
        return max((each.direction_changes for each in self.bursts), default=0)


class Simulation:
    """One service under one policy.

    Args:
        service: What is scaled.
        scaler: The policy.
        seed: Of rates and starts.
    """

    def __init__(self, service: Service, scaler: Scaler, seed: int) -> None:
        self._service = service
        self._scaler = scaler
        self._random = random.Random(seed)
        self._running = self._target = service.min_replicas
        self._ready_at_s: list[float] = []
        # For each running replica that has begun a lump: how long it has worked on it.
        self._lumps_s: list[float] = []
        self._remaining = 0.0
        self._arrived = 0
        self._done = 0.0
        self._marks: deque[tuple[int, float]] = deque()
        self._direction = 0

    def run(
        self, arrivals: Sequence[int], bursts: Sequence[Burst] = (), trace: bool = False
    ) -> Run:
        """Simulate.

        Args:
            arrivals: Records of each step, bursts apart.
            bursts: In order of time; they are filled in.
            trace: Whether to keep every step.
        """
        service, step_s = self._service, self._service.step_s
        run = Run(hours=len(arrivals) * step_s / 3600, bursts=list(bursts))
        coming = deque(run.bursts)
        open_bursts: deque[tuple[int, Burst]] = deque()
        current: Burst | None = None
        busy_steps = late_steps = 0
        for number, usual in enumerate(arrivals):
            now_s = number * step_s
            if not usual and self._is_at_rest() and not (coming and coming[0].at_s <= now_s):
                run.replica_s += self._running * step_s
                if trace:
                    self._trace(run, now_s)
                continue
            arrived = usual
            while coming and coming[0].at_s <= now_s:
                current = coming.popleft()
                arrived += current.records
                open_bursts.append((self._arrived + arrived, current))
                current.is_feasible = self._is_feasible(arrived, usual / step_s)
            self._arrive(arrived, now_s)
            self._start_ready(now_s)
            self._work(step_s)
            while open_bursts and self._done >= open_bursts[0][0] - 0.5:
                burst = open_bursts.popleft()[1]
                burst.drained_s = now_s + step_s - burst.at_s
            if self._remaining >= 1:
                busy_steps += 1
                late_steps += now_s + step_s - self._marks[0][1] > service.drain_target_s
            if self._decide(now_s + step_s):
                run.direction_changes += 1
                if current is not None:
                    current.direction_changes += 1
            run.replica_s += (self._running + len(self._ready_at_s)) * step_s
            if trace:
                self._trace(run, now_s)
        run.records = self._arrived
        run.late_share = late_steps / busy_steps if busy_steps else 0.0
        return run

    def _is_at_rest(self) -> bool:
        """Whether nothing happens until something arrives: hours of it cost next to nothing."""
        return (
            not self._remaining
            and not self._ready_at_s
            and self._running == self._target == self._service.min_replicas
        )

    def _trace(self, run: Run, now_s: float) -> None:
        run.time_s.append(now_s)
        run.remaining.append(int(self._remaining))
        run.replicas.append(self._running)

    def _is_feasible(self, arrived: int, arriving_per_s: float) -> bool:
        """Whether all replicas that could run would finish it, if asked for within two periods."""
        service = self._service
        target_s = service.drain_target_s
        helping_s = max(0.0, target_s - service.cold_start_s - 2 * service.step_s)
        capacity_s = self._running * target_s + helping_s * max(
            0, service.most_replicas - self._running
        )
        work = self._remaining + arrived + arriving_per_s * target_s
        return work <= 0.9 * capacity_s * service.replica_records_per_s

    def _arrive(self, records: int, now_s: float) -> None:
        if records:
            self._arrived += records
            self._remaining += records
            self._marks.append((self._arrived, now_s))

    def _start_ready(self, now_s: float) -> None:
        while self._ready_at_s and self._ready_at_s[0] <= now_s:
            heapq.heappop(self._ready_at_s)
            self._running += 1

    def _work(self, step_s: float) -> None:
        if self._remaining <= 0 or not self._running:
            return
        working = min(self._running, self._service.partitions or self._running)
        wavering = max(0.3, self._random.gauss(1.0, _RATE_DEVIATION))
        worked_s = (
            self._lumps_worked_s(working, step_s) if self._service.lump_s else step_s * working
        )
        could = self._service.replica_records_per_s * wavering * worked_s
        done = min(self._remaining, could)
        self._remaining -= done
        if self._remaining < 1e-6:
            self._remaining = 0.0
            self._lumps_s.clear()
        self._done += done
        while self._marks and self._marks[0][0] <= self._done + 1e-6:
            self._marks.popleft()

    def _lumps_worked_s(self, working: int, step_s: float) -> float:
        """Return the replica-seconds of the lumps that are done in this step."""
        lump_s = self._service.lump_s
        # Those that were stopped last have lost what they had begun.
        began = self._lumps_s[:working] + [0.0] * (working - len(self._lumps_s))
        self._lumps_s = [each + step_s for each in began]
        done = [each >= lump_s for each in self._lumps_s]
        self._lumps_s = [
            0.0 if is_done else each for each, is_done in zip(self._lumps_s, done, strict=True)
        ]
        return lump_s * sum(done)

    def _decide(self, now_s: float) -> bool:
        """Move the target; return whether it turned."""
        service = self._service
        view = View(
            now_s=now_s,
            running=self._running,
            remaining_records=int(-(-self._remaining // 1)),
            arrived_records=self._arrived,
            done_records=self._arrived - int(-(-self._remaining // 1)),
        )
        wanted = self._scaler.decide(view, self._target)
        wanted = max(service.min_replicas, min(service.max_replicas, wanted))
        if wanted == self._target:
            return False
        direction = 1 if wanted > self._target else -1
        for _ in range(wanted - self._running - len(self._ready_at_s)):
            spread = self._random.uniform(1 - _COLD_START_SPREAD, 1 + _COLD_START_SPREAD)
            heapq.heappush(self._ready_at_s, now_s + service.cold_start_s * spread)
        surplus = self._running + len(self._ready_at_s) - wanted
        while surplus > 0 and self._ready_at_s:
            self._ready_at_s.remove(max(self._ready_at_s))
            heapq.heapify(self._ready_at_s)
            surplus -= 1
        self._running -= max(0, surplus)
        self._target = wanted
        has_turned = self._direction not in (0, direction)
        self._direction = direction
        return has_turned
