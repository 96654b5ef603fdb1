"""What a million records cost where both drain them in the same time, whatever time that is.

A baseline's drain time follows from its threshold. Each of the thresholds gives a time, and the
service's policy is asked for that time: so the costs can be compared at one drain time after the
other, from the shortest that the most replicas allow to the longest that the target does.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from benchmarks.autoscaling.comparison import BASELINES, at_thresholds, measure, service_for
from benchmarks.autoscaling.patterns import PATTERNS
from benchmarks.autoscaling.scalers import Headrace

PATTERN = "bulk"
SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EqualDrain:
    """A baseline at one threshold, and the service's policy asked for the time that this took.

    Attributes:
        baseline: Its name.
        cold_start_s: Of a replica.
        threshold_records: The baseline's.
        asked_s: The drain time asked for: the 99th percentile of the baseline's.
        baseline_p50_s: The median of the baseline's drain times.
        p50_s: The median of the service's.
        baseline_replica_hours: Paid for by the baseline.
        replica_hours: Paid for by the service.
    """

    baseline: str
    cold_start_s: float
    threshold_records: float | None
    asked_s: float
    baseline_p50_s: float
    p50_s: float
    baseline_replica_hours: float
    replica_hours: float

    @property
    def ratio(self) -> float:
        """The service's replica-hours by the baseline's."""
        return self.replica_hours / self.baseline_replica_hours


def at_equal_drain_times(cold_start_s: float, hours: float) -> Iterator[EqualDrain]:
    """Yield a comparison for each baseline and threshold that meets the pattern's drain target."""
    service = service_for(PATTERN, cold_start_s)
    drawn = [PATTERNS[PATTERN](service, hours, SEED)]
    for name, maker in BASELINES.items():
        for theirs in at_thresholds(PATTERN, name, maker, service, drawn):
            asked_s = theirs.drained_p99_s
            if asked_s is None or asked_s > service.drain_target_s:
                continue
            hurried = replace(service, drain_target_s=asked_s)
            make = partial(Headrace, hurried)
            ours = measure(PATTERN, "headrace", hurried, drawn, None, make)
            if theirs.drained_p50_s is None or ours.drained_p50_s is None:
                continue
            yield EqualDrain(
                baseline=name,
                cold_start_s=cold_start_s,
                threshold_records=theirs.threshold_records,
                asked_s=asked_s,
                baseline_p50_s=theirs.drained_p50_s,
                p50_s=ours.drained_p50_s,
                baseline_replica_hours=theirs.replica_hours,
                replica_hours=ours.replica_hours,
            )
