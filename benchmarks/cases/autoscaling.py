"""``autoscaling``: the cost of replicas, in the simulator, at a drain time that is met."""

from collections.abc import Sequence
from dataclasses import asdict

from benchmarks.autoscaling.comparison import (
    BASELINES,
    DRAIN_TARGETS_S,
    LEAST_MET,
    Row,
    as_values,
    best,
    compare,
)
from benchmarks.autoscaling.equal_drain_time import EqualDrain, at_equal_drain_times
from benchmarks.autoscaling.past_one_machine import PARTITIONS, Plan, plan
from benchmarks.autoscaling.patterns import PATTERNS
from benchmarks.context import Context
from benchmarks.harness import Bar, Result, Round, Series
from benchmarks.registry import Benchmark

JUDGED = ("burst", "bulk", "single")
"""Arrivals that come and go. A steady load costs the same with any policy: it is only reported."""
HOURS = {"steady": 4, "diurnal": 24, "burst": 24, "bulk": 48, "single": 48}
"""Simulated for each policy and cold start."""
MOST_DIRECTION_CHANGES = 2


def run(context: Context) -> Result:
    """Simulate every pattern with every cold start; a round is one cold start."""
    rows: list[Row] = []
    for pattern in PATTERNS:
        for cold_start_s in DRAIN_TARGETS_S:
            found = compare(pattern, cold_start_s, context.size(HOURS[pattern], 4), seeds=1)
            rows += found
            for row in found:
                context.say(
                    f"{pattern}, cold start {cold_start_s:g} s, {row.policy}: "
                    f"{row.replica_hours:,.1f} replica-hours "
                    f"({row.least_replica_hours:,.1f} or more for anybody), "
                    f"target met {row.met_share:.1%}, turns {row.most_direction_changes}"
                )
    equal: list[EqualDrain] = []
    for cold_start_s in DRAIN_TARGETS_S:
        for each in at_equal_drain_times(cold_start_s, context.size(HOURS["bulk"], 4)):
            equal.append(each)
            context.say(
                f"bulk within {each.asked_s:,.0f} s, cold start {cold_start_s:g} s: "
                f"{each.replica_hours:,.1f} replica-hours a load, {each.ratio:.2f} of "
                f"{each.baseline}'s ({each.least_ratio:.2f} or more for anybody)"
            )
    large = plan(context.size(2, 1), context.size(PARTITIONS, 100))
    context.say(
        f"{large.records:,} records in {large.days} days: {large.replica_hours:,.0f} replica-hours "
        f"for {large.work_hours:,.0f} of work, late {large.late_share:.1%} of the time; a reading "
        f"of {large.partitions:,} partitions {large.reading_s:.2f} s of CPU, "
        f"{large.idle_reading_s:.3f} s where nothing changed; a decision "
        f"{large.decision_s * 1e6:.0f} µs"
    )
    return summarize(rows, equal, large)


def summarize(rows: list[Row], equal: Sequence[EqualDrain], large: Plan | None) -> Result:
    """Compare the service's replica-hours with the better baseline's. Pure.

    Args:
        rows: Of all patterns, cold starts and policies.
        equal: The comparisons at equal drain times; reported.
        large: A service past one machine; reported.
    """
    rounds: dict[str, list[Round]] = {each: [] for each in JUDGED}
    least: dict[str, dict[str, float]] = {}
    ours = [row for row in rows if row.policy == "headrace"]
    for row in ours:
        rivals = [
            each
            for each in rows
            if (each.pattern, each.cold_start_s) == (row.pattern, row.cold_start_s)
            and each.policy in BASELINES
        ]
        baseline_hours = best(rivals).replica_hours
        of_pattern = least.setdefault(row.pattern, {})
        of_pattern[f"{row.cold_start_s:g}"] = row.least_replica_hours / baseline_hours
        if row.pattern in rounds:
            rounds[row.pattern].append(Round(row.replica_hours, baseline_hours))
    judged = [row for row in ours if row.pattern in JUDGED]
    feasible = sum(row.feasible_bursts for row in judged)
    met = sum(row.met_share * row.feasible_bursts for row in judged) / feasible
    turns = max(row.most_direction_changes for row in judged)
    return Result(
        series={name: Series(each) for name, each in rounds.items()},
        details={
            "feasible_bursts": feasible,
            "met_share": met,
            "met_share_bar": LEAST_MET,
            "most_direction_changes": turns,
            "most_direction_changes_bar": MOST_DIRECTION_CHANGES,
            "least_possible_ratio_by_cold_start_s": least,
            "simulated_hours": sum(row.hours for row in rows),
            "rows": [as_values(row) for row in rows],
            "bulk_at_equal_drain_times": [
                {**asdict(each), "ratio": each.ratio, "least_ratio": each.least_ratio}
                for each in equal
            ],
            "past_one_machine": asdict(large) if large else None,
        },
        holds=met >= LEAST_MET and turns <= MOST_DIRECTION_CHANGES,
    )


BENCHMARK = Benchmark(
    name="autoscaling",
    subject="simulated replica-hours of the drain policy",
    baseline="the better of Serve's default policy and a KEDA-style lag threshold, each tuned",
    unit="replica-hours",
    bar=Bar(0.8, "at most"),
    aim=None,
    run=run,
)
