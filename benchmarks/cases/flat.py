"""``flat``: a record costs the same, and memory stays, however long the backlog is."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from statistics import median

import psutil

from benchmarks import load
from benchmarks.cases.engine import noop_settings
from benchmarks.context import Context
from benchmarks.harness import Bar, Curve, CurvePlot, Result, Round, Series
from benchmarks.load import Headers, Topics
from benchmarks.processes import MemorySampler, cpu_seconds
from benchmarks.registry import Benchmark
from benchmarks.workloads import noop_lines, request_headers
from handoff.clock import SystemClock

BACKLOGS_RECORDS = (1_000, 10_000, 100_000, 1_000_000)
QUICK_BACKLOGS_RECORDS = (500, 1_000, 2_000)
LEAST_RECORDS = 20_000
WARM_UP_RECORDS = 20_000
MOST_MEMORY_RATIO = 1.2
_IDLE_S = 3.0
_COUNT_EVERY_S = 0.02


@dataclass(frozen=True, slots=True)
class Point:
    """One backlog's costs.

    Attributes:
        backlog_records: How many waited when the drain began.
        repeats: How often such a backlog was drained.
        cpu_us_per_record: CPU time of the consumer's process, in microseconds a record.
        wall_us_per_record: Time from the start of the drain to its end, likewise.
        peak_memory_mib: The largest resident memory of the consumer's process.
    """

    backlog_records: int
    repeats: int
    cpu_us_per_record: float
    wall_us_per_record: float
    peak_memory_mib: float


class Drain:
    """Drains backlogs of one consumer, again and again.

    A gate in the no-op model stops every outcome while a backlog is published. The consumer
    meanwhile reads what its admission allows. CPU time counts from before the publishing, so that
    nothing done in advance is free.

    Args:
        bootstrap: The broker.
        topics: What the consumer reads and writes.
        consumer: Its process.
        gate: The gate's file.
        deadline_in_s: When records must be answered, if they have deadlines; those have headers
            as well.
    """

    def __init__(
        self,
        bootstrap: str,
        topics: Topics,
        consumer: psutil.Process,
        gate: Path,
        deadline_in_s: float | None = None,
    ) -> None:
        self._bootstrap = bootstrap
        self._topics = topics
        self._consumer = consumer
        self._gate = gate
        self._deadline_in_s = deadline_in_s
        self._clock = SystemClock()
        self._done_records = 0

    def warm_up(self) -> None:
        """Drain until the process has what it needs: code paths, buffers, a grown heap."""
        self._drain_once(WARM_UP_RECORDS)

    def idle_cpu_share(self) -> float:
        """Return the share of one CPU that the consumer uses with nothing to do."""
        cpu_s, now_s = cpu_seconds(self._consumer), self._clock.monotonic()
        asyncio.run(asyncio.sleep(_IDLE_S))
        elapsed_s = self._clock.monotonic() - now_s
        return (cpu_seconds(self._consumer) - cpu_s) / elapsed_s

    def measure(self, backlog_records: int, least_records: int) -> Point:
        """Drain a backlog as often as it takes to have ``least_records``."""
        repeats = ceil(least_records / backlog_records)
        with MemorySampler(self._consumer) as memory:
            drains = [self._drain_once(backlog_records) for _ in range(repeats)]
        records = repeats * backlog_records
        return Point(
            backlog_records=backlog_records,
            repeats=repeats,
            cpu_us_per_record=sum(cpu_s for cpu_s, _ in drains) * 1e6 / records,
            wall_us_per_record=sum(wall_s for _, wall_s in drains) * 1e6 / records,
            peak_memory_mib=memory.peak_mib,
        )

    def _drain_once(self, records: int) -> tuple[float, float]:
        """Return the consumer's CPU seconds for a backlog, and the seconds that it took."""
        cpu_s = cpu_seconds(self._consumer)
        with _closed(self._gate):
            asyncio.run(
                load.publish(
                    self._bootstrap, self._topics.requests, noop_lines(records), self._headers()
                )
            )
        opened_s = self._clock.monotonic()
        self._done_records += records
        asyncio.run(
            load.wait_for_records(
                self._bootstrap,
                self._topics.results,
                self._done_records,
                count_every_s=_COUNT_EVERY_S,
            )
        )
        ended_s = self._clock.monotonic()
        return cpu_seconds(self._consumer) - cpu_s, ended_s - opened_s

    def _headers(self) -> Headers:
        if self._deadline_in_s is None:
            return ()
        return request_headers(self._clock.epoch_ms() + int(self._deadline_in_s * 1000))


@contextmanager
def _closed(gate: Path) -> Iterator[None]:
    gate.touch()
    try:
        yield
    finally:
        gate.unlink()


def run(context: Context, deadline_in_s: float | None = None) -> Result:
    """Measure every backlog in each round, the first against the last.

    Args:
        context: The run.
        deadline_in_s: When records must be answered, if they have deadlines and headers.
    """
    sizes = QUICK_BACKLOGS_RECORDS if context.is_quick else BACKLOGS_RECORDS
    least_records = context.size(LEAST_RECORDS, 2_000)
    rounds = [_measure(context, sizes, least_records, deadline_in_s) for _ in range(context.rounds)]
    return summarize(rounds)


def _measure(
    context: Context, sizes: Sequence[int], least_records: int, deadline_in_s: float | None
) -> list[Point]:
    stage = context.stage
    gate = context.scratch / "gate"
    model = noop_settings(gate_file=str(gate))
    points = []
    with (
        stage.model(model),
        stage.topics() as topics,
        stage.consumer(topics, model) as consumer,
    ):
        drain = Drain(stage.bootstrap, topics, consumer, gate, deadline_in_s)
        drain.warm_up()
        for backlog_records in sizes:
            point = drain.measure(backlog_records, least_records)
            context.say(
                f"{backlog_records:>9,} records: {point.cpu_us_per_record:.1f} µs CPU a record, "
                f"{point.peak_memory_mib:.0f} MiB"
            )
            points.append(point)
        context.say(f"idle, the consumer uses {drain.idle_cpu_share():.1%} of a CPU")
    return points


def summarize(rounds: Sequence[Sequence[Point]]) -> Result:
    """Compare the longest backlog with the shortest, in CPU time and in memory. Pure."""
    series = Series(
        [Round(points[-1].cpu_us_per_record, points[0].cpu_us_per_record) for points in rounds]
    )
    memory_ratio = median(
        points[-1].peak_memory_mib / points[0].peak_memory_mib for points in rounds
    )
    sizes = [float(point.backlog_records) for point in rounds[0]]
    cost_us = [
        median(one.cpu_us_per_record for one in points) for points in zip(*rounds, strict=True)
    ]
    memory_mib = [
        median(one.peak_memory_mib for one in points) for points in zip(*rounds, strict=True)
    ]
    return Result(
        series={"all": series},
        details={
            "memory_ratio": memory_ratio,
            "memory_bar": MOST_MEMORY_RATIO,
            "points": [[asdict(point) for point in points] for points in rounds],
        },
        holds=memory_ratio <= MOST_MEMORY_RATIO,
        plot=CurvePlot(
            "backlog in records",
            [
                Curve("consumer CPU, µs a record", sizes, cost_us),
                Curve("consumer memory, MiB resident", sizes, memory_mib),
            ],
        ),
    )


BENCHMARK = Benchmark(
    name="flat",
    subject="a record of the longest backlog",
    baseline="a record of the shortest",
    unit="µs of consumer CPU",
    bar=Bar(1.2, "at most"),
    aim=None,
    run=run,
)
