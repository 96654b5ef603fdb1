"""A service past one machine: a billion records a day, and the load on its parts.

The replicas are simulated. Serve's controller is one process whatever the size; the two parts that
run there are timed on the real code: a reading of the lag, and a decision.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.autoscaling.patterns import DAY_S, noisy
from benchmarks.autoscaling.scalers import Headrace
from benchmarks.autoscaling.simulator import Burst, Service, Simulation, View
from consumer.autoscaling.lag import BacklogTracker
from consumer.engine.offsets.completion_map import CompletionMap, encode
from consumer.ports import Lag, OffsetAndMetadata, TopicPartition

PARTITIONS = 10_000
RECORDS_A_DAY = 1_000_000_000
BURST_RECORDS = 5_000_000
BURST_AT_S = 0.45 * DAY_S
"""Into each day: shortly before its busiest time."""
_WAVE = 0.8
_MAP_SPAN = 2_000
_TIMED = 3

SERVICE = Service(
    replica_records_per_s=40.0, cold_start_s=120.0, drain_target_s=300.0, max_replicas=1_000
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The result.

    Attributes:
        days: Simulated.
        partitions: Of the topic.
        records: That arrived.
        replica_hours: Paid for.
        work_hours: Replica-hours of work that arrived.
        most_replicas: That ran at one time.
        late_share: Of the time with work, when the oldest record was over the drain target.
        bursts_drained_s: How long each burst took.
        map_characters: Of each partition's completion map, where the lag was read.
        reading_s: Seconds of CPU that a reading of all partitions takes, each map a new one.
        idle_reading_s: The same if nothing has changed since the last one.
        decision_s: Seconds of CPU that a decision takes while half of the replicas start.
    """

    days: int
    partitions: int
    records: int
    replica_hours: float
    work_hours: float
    most_replicas: int
    late_share: float
    bursts_drained_s: tuple[float | None, ...]
    map_characters: int
    reading_s: float
    idle_reading_s: float
    decision_s: float


def plan(days: int, partitions: int = PARTITIONS) -> Plan:
    """Simulate the replicas, and time what runs in the controller.

    Args:
        days: To simulate.
        partitions: Of the topic whose lag is read.
    """
    arrivals = noisy(_rate, SERVICE, days * DAY_S / 3600, seed=0)
    bursts = [Burst(day * DAY_S + BURST_AT_S, BURST_RECORDS) for day in range(days)]
    run = Simulation(SERVICE, Headrace(SERVICE), 0).run(arrivals, bursts, trace=True)
    lags, later = _lags(partitions, _MAP_SPAN), _lags(partitions, _MAP_SPAN + 8)
    tracker = BacklogTracker(from_latest=False)
    tracker.observe(lags, 0.0)
    committed = next(iter(lags.values())).committed
    return Plan(
        days=days,
        partitions=partitions,
        records=run.records,
        replica_hours=run.replica_s / 3600,
        work_hours=run.records / SERVICE.replica_records_per_s / 3600,
        most_replicas=max(run.replicas),
        late_share=run.late_share,
        bursts_drained_s=tuple(each.drained_s for each in run.bursts),
        map_characters=0 if committed is None else len(committed.metadata),
        idle_reading_s=_cpu_s(lambda: tracker.observe(lags, 1.0)),
        reading_s=min(
            _cpu_s(lambda: tracker.observe(later, 2.0), 1),
            _cpu_s(lambda: tracker.observe(lags, 3.0), 1),
        ),
        decision_s=_decision_s(),
    )


def _rate(now_s: float) -> float:
    mean = RECORDS_A_DAY / DAY_S
    return mean * (1.0 - _WAVE * math.cos(2 * math.pi * now_s / DAY_S))


def _lags(partitions: int, span: int) -> dict[TopicPartition, Lag]:
    """Return a broker's answer for partitions in which every other record is done."""
    incomplete = tuple(range(2, span, 2))
    committed = OffsetAndMetadata(0, encode(0, CompletionMap(span, incomplete)))
    return {
        TopicPartition("requests", number): Lag(0, span + 1_000, committed)
        for number in range(partitions)
    }


def _decision_s() -> float:
    """Time a decision while half of the replicas start."""
    scaler, half, arrived = Headrace(SERVICE), SERVICE.max_replicas // 2, 4 * BURST_RECORDS

    def view(now_s: float, running: int, done: int) -> View:
        return View(
            now_s=now_s,
            running=running,
            remaining_records=arrived - done,
            arrived_records=arrived,
            done_records=done,
        )

    target = half
    for second in range(4):
        target = scaler.decide(view(float(second), half, 20_000 * second), target)
    if target <= half:
        raise AssertionError("nothing starts: this would time the short way")
    return _cpu_s(lambda: scaler.decide(view(4.0, half, 80_000), target), 100)


def _cpu_s(work: Callable[[], object], times: int = _TIMED) -> float:
    """Return the smallest CPU time of one call."""
    taken = []
    for _ in range(times):
        began_s = time.process_time()
        work()
        taken.append(time.process_time() - began_s)
    return min(taken)
