"""``uneven-kill``: the uneven records, with the consumer's process killed with -9 five times."""

import asyncio
from dataclasses import asdict, dataclass
from statistics import median
from typing import Literal

from benchmarks.cases.uneven import CONCURRENCY
from benchmarks.context import Context
from benchmarks.harness import Bar, Result, Round, Series
from benchmarks.kills import Repeats, count_repeats, drain_with_kills
from benchmarks.load import PARTITIONS, BenchmarkFailedError
from benchmarks.registry import Benchmark
from benchmarks.workloads import sleep_lines, uneven_sleep_ms
from schemas.settings.file import GroupSettings, KafkaSettings, RouteSettings

KILLS = 5
SESSION_TIMEOUT_MS = 10_000
MOST_EXACTLY_ONCE_RATIO = 1.5
"""Exactly-once over at-least-once without kills."""
WALL_WITH_KILLS_ELSEWHERE_S = {
    "Parallel Consumer (Java), commit every 5 s": 57.4,
    "Parallel Consumer (Java), transactional": 53.4,
    "FastStream, 256 workers (acknowledges before it works; lost 15)": 68.2,
    "raw aiokafka loop, 256 a poll": 193.6,
    "Quix Streams": 284.8,
    "FastStream, a record at a time": 285.8,
}
"""The same records and kills: 2 cores, Apache Kafka 4.3.1, 4 partitions; one run each, in another
session than ours. Some 50 s of each are five session timeouts.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A way to publish, and its limits.

    Attributes:
        name: Its series.
        delivery: The route's.
        commit_interval_ms: The route's; ``None`` is the default.
        peer_wall_s: What the best of the others with this guarantee needed.
        most_published_twice: The most results beyond the first, as a share of the requests.
    """

    name: str
    delivery: Literal["at_least_once", "exactly_once"]
    commit_interval_ms: float | None = None
    peer_wall_s: float
    most_published_twice: float

    def route(self, requests: str, results: str, dead_letters: str, group: str) -> RouteSettings:
        """Return the route's settings."""
        interval = (
            {}
            if self.commit_interval_ms is None
            else {"commit_interval_ms": self.commit_interval_ms}
        )
        return RouteSettings(
            model="sleeper",
            requests_topic=requests,
            results_topic=results,
            dead_letters_topic=dead_letters,
            group=group,
            delivery=self.delivery,
            membership=GroupSettings(session_timeout_ms=SESSION_TIMEOUT_MS, static=True),
            **interval,
        )


AT_LEAST_ONCE = Variant(
    name="at-least-once",
    delivery="at_least_once",
    peer_wall_s=57.4,
    most_published_twice=0.10,
)
SHORTEST_INTERVAL = Variant(
    name="at-least-once, commit_interval_ms 0",
    delivery="at_least_once",
    commit_interval_ms=0,
    peer_wall_s=57.4,
    most_published_twice=0.02,
)
EXACTLY_ONCE = Variant(
    name="exactly-once",
    delivery="exactly_once",
    peer_wall_s=53.4,
    most_published_twice=0.0,
)
VARIANTS = (AT_LEAST_ONCE, SHORTEST_INTERVAL, EXACTLY_ONCE)


def misses(variant: Variant, repeats: Repeats, records: int) -> list[str]:
    """Return what one run misses beside its wall time, for people. Pure."""
    found = []
    if repeats.lost:
        found.append(f"lost {repeats.lost:,} records")
    if repeats.published_twice > variant.most_published_twice * records:
        found.append(
            f"published {repeats.published_twice:,} of {records:,} twice, more than "
            f"{variant.most_published_twice:.0%}"
        )
    if repeats.computed_twice_in_flight > repeats.in_flight_at_kills:
        found.append(
            f"computed {repeats.computed_twice_in_flight:,} times again without a result, but only "
            f"{repeats.in_flight_at_kills:,} were in flight at the kills"
        )
    return found


def summarize(
    killed: dict[Variant, list[Repeats]], unharmed: dict[Variant, list[Repeats]], records: int
) -> Result:
    """Compare the runs with kills and those without with their bars. Pure.

    Args:
        killed: The runs of each variant with kills.
        unharmed: Those of ``AT_LEAST_ONCE`` and ``EXACTLY_ONCE`` without.
        records: Requests of each run.
    """
    missed = [
        f"{variant.name}: {miss}"
        for variant, runs in [*killed.items(), *unharmed.items()]
        for run_ in runs
        for miss in misses(variant, run_, records)
    ]
    exactly_once_ratio = median(
        exactly_once.first_to_last_s / at_least_once.first_to_last_s
        for exactly_once, at_least_once in zip(
            unharmed[EXACTLY_ONCE], unharmed[AT_LEAST_ONCE], strict=True
        )
    )
    if exactly_once_ratio > MOST_EXACTLY_ONCE_RATIO:
        missed.append(
            f"without kills exactly-once took {exactly_once_ratio:.2f} times as long as "
            f"at-least-once, more than {MOST_EXACTLY_ONCE_RATIO:g}"
        )
    return Result(
        series={
            variant.name: Series([Round(run_.wall_s, variant.peer_wall_s) for run_ in runs])
            for variant, runs in killed.items()
        },
        details={
            "records": records,
            "kills": KILLS,
            "session_timeout_ms": SESSION_TIMEOUT_MS,
            "in_flight_records": CONCURRENCY,
            "partitions": PARTITIONS,
            "missed": missed,
            "variants": {
                variant.name: {
                    "most_published_twice": variant.most_published_twice,
                    "published_twice_share": max(run_.published_twice for run_ in runs) / records,
                    "runs": [asdict(run_) for run_ in runs],
                }
                for variant, runs in killed.items()
            },
            "without_kills": {
                "exactly_once_ratio": exactly_once_ratio,
                "bar": MOST_EXACTLY_ONCE_RATIO,
                **{
                    variant.name: [asdict(run_) for run_ in runs]
                    for variant, runs in unharmed.items()
                },
            },
            "measured_elsewhere_s": WALL_WITH_KILLS_ELSEWHERE_S,
        },
        holds=not missed,
    )


def run(context: Context) -> Result:
    """Drain the records with and without kills, every variant in each round."""
    sleeps_ms = [uneven_sleep_ms(number) for number in range(context.size(20_000, 3_000))]
    records = len(sleeps_ms)
    killed: dict[Variant, list[Repeats]] = {variant: [] for variant in VARIANTS}
    unharmed: dict[Variant, list[Repeats]] = {AT_LEAST_ONCE: [], EXACTLY_ONCE: []}
    for _ in range(context.rounds):
        for variant, runs in killed.items():
            runs.append(_drain(context, variant, sleeps_ms, KILLS))
        for variant, runs in unharmed.items():
            runs.append(_drain(context, variant, sleeps_ms, 0))
    result = summarize(killed, unharmed, records)
    for miss in result.details["missed"]:
        context.say(f"missed: {miss}")
    return result


def _drain(context: Context, variant: Variant, sleeps_ms: list[int], kills: int) -> Repeats:
    stage, records = context.stage, len(sleeps_ms)
    with stage.topics() as topics:
        stage.publish(topics, sleep_lines(sleeps_ms))
        drain = asyncio.run(
            drain_with_kills(
                KafkaSettings(bootstrap=stage.bootstrap),
                variant.route(*topics.names, topics.group),
                topics,
                records=records,
                kills=kills,
                concurrency=CONCURRENCY,
                scratch=context.scratch,
            )
        )
    if drain.results.not_ok_records:
        raise BenchmarkFailedError(
            f"{variant.name}: {drain.results.not_ok_records:,} results are not of status 200"
        )
    repeats = count_repeats(drain, records)
    context.say(
        f"{variant.name}, {kills} kills: {repeats.wall_s:.1f} s, first to last result "
        f"{repeats.first_to_last_s:.1f} s; lost {repeats.lost}, published twice "
        f"{repeats.published_twice}, computed twice {repeats.computed_twice}, in flight at the "
        f"kills {repeats.in_flight_at_kills} ({repeats.in_course_at_kills} in course)"
    )
    return repeats


BENCHMARK = Benchmark(
    name="uneven-kill",
    subject="the uneven records with five kills, from the first process's start",
    baseline="the best of the others with the same guarantee, measured elsewhere",
    unit="s",
    bar=Bar(0.7, "at most"),
    aim=None,
    run=run,
)
