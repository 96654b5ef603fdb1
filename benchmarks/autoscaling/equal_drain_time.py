"""The cost of a million records when both policies drain them in the same time.

A baseline's drain time follows from its threshold. Each threshold gives a time, and the service's
policy is asked for that time. So costs can be compared at many drain times: from hundreds of
replicas that start for a minute of work to a few that work for an hour.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from benchmarks.autoscaling.comparison import BASELINES, at_thresholds, measure, service_for
from benchmarks.autoscaling.patterns import BULK_RECORDS, PATTERNS
from benchmarks.autoscaling.scalers import Headrace

PATTERN = "bulk"
SEED = 0
REPLICAS = (24, 32, 40, 50, 64, 100, 160, 250, 400, 640, 1_000)
"""What a baseline's threshold asks for when the load arrives."""
_SLOWEST_S = 1_800.0
"""The arrivals are as far apart as with a drain target of this length: over two hours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EqualDrain:
    """A baseline at one threshold, and the service's policy asked for the same time.

    Attributes:
        baseline: Its name.
        cold_start_s: Of a replica.
        threshold_records: The baseline's.
        asked_s: The drain time asked for: the 99th percentile of the baseline's.
        baseline_p50_s: The median of the baseline's drain times.
        p50_s: The median of the service's.
        met_share: Of the service's loads, those finished within the time asked for.
        baseline_replica_hours: Paid for by the baseline, for one load; so the next two.
        replica_hours: Paid for by the service.
        least_replica_hours: What no policy can do without at this time.
    """

    baseline: str
    cold_start_s: float
    threshold_records: float | None
    asked_s: float
    baseline_p50_s: float
    p50_s: float
    met_share: float
    baseline_replica_hours: float
    replica_hours: float
    least_replica_hours: float

    @property
    def ratio(self) -> float:
        """The service's replica-hours divided by the baseline's."""
        return self.replica_hours / self.baseline_replica_hours

    @property
    def least_ratio(self) -> float:
        """The least possible replica-hours divided by the baseline's."""
        return self.least_replica_hours / self.baseline_replica_hours


def at_equal_drain_times(cold_start_s: float, hours: float) -> Iterator[EqualDrain]:
    """Yield a comparison for each baseline and threshold, the longest drain time first."""
    service = replace(service_for(PATTERN, cold_start_s), drain_target_s=_SLOWEST_S)
    drawn = [PATTERNS[PATTERN](service, hours, SEED)]
    thresholds = [BULK_RECORDS / each for each in REPLICAS]
    for name, maker in BASELINES.items():
        for theirs in at_thresholds(PATTERN, name, maker, service, drawn, thresholds):
            asked_s = theirs.drained_p99_s
            if asked_s is None or theirs.drained_p50_s is None:
                continue
            hurried = replace(service, drain_target_s=asked_s)
            ours = measure(PATTERN, "headrace", hurried, drawn, None, partial(Headrace, hurried))
            if ours.drained_p50_s is None:
                continue
            yield EqualDrain(
                baseline=name,
                cold_start_s=cold_start_s,
                threshold_records=theirs.threshold_records,
                asked_s=asked_s,
                baseline_p50_s=theirs.drained_p50_s,
                p50_s=ours.drained_p50_s,
                met_share=ours.met_share,
                baseline_replica_hours=theirs.replica_hours / theirs.bursts,
                replica_hours=ours.replica_hours / ours.bursts,
                least_replica_hours=ours.least_replica_hours / ours.bursts,
            )
