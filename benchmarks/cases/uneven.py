"""``uneven``: records that take from 5 ms to 2 s, side by side in one replica."""

from benchmarks.context import Context
from benchmarks.harness import Bar, Result
from benchmarks.load import PARTITIONS
from benchmarks.registry import Benchmark
from benchmarks.workloads import (
    NOOP_URL,
    first_come_first_served_s,
    sleep_lines,
    uneven_sleep_ms,
)
from schemas.settings.models import CustomModelSettings

CONCURRENCY = 256
MEASURED_ELSEWHERE = {
    "Parallel Consumer (Java), commit every 100 ms": 1.7,
    "Parallel Consumer (Java), transactional": 1.8,
    "FastStream, 256 workers (acknowledges before it works)": 4.7,
    "raw aiokafka loop, 256 a poll": 44.0,
    "Quix Streams, 4 processes": 70.0,
    "FastStream, a record at a time, 4 workers": 73.0,
}
"""Wall over ideal on these 20,000 records: 2 cores, Apache Kafka 4.3.1, 4 partitions; one run each,
in another session than ours. For comparison only: nothing is judged by it.
"""


def run(context: Context) -> Result:
    """Drain the uneven records, and compare the wall time with a perfect division of the sleeps."""
    sleeps_ms = [uneven_sleep_ms(number) for number in range(context.size(20_000, 1_000))]
    ideal_s = sum(sleeps_ms) / CONCURRENCY / 1000
    in_order_s = first_come_first_served_s(sleeps_ms, CONCURRENCY)
    model = CustomModelSettings(
        kind="custom",
        import_path="benchmarks.models:Sleeper",
        options={"concurrency": CONCURRENCY},
        urls=(NOOP_URL,),
        work_field="ms",
    )

    def wall_s() -> float:
        times_ms = context.stage.drain(model, sleep_lines(sleeps_ms))
        return (max(times_ms) - min(times_ms)) / 1000

    with context.stage.model(model):
        series = context.interleave(wall_s, lambda: ideal_s)
    context.say(f"in the records' own order nothing can beat {in_order_s / ideal_s:.3f}")
    details = {
        "records": len(sleeps_ms),
        "in_flight_records": CONCURRENCY,
        "partitions": PARTITIONS,
        "ideal_s": ideal_s,
        "first_come_first_served_ratio": in_order_s / ideal_s,
        "measured_elsewhere": MEASURED_ELSEWHERE,
    }
    return Result(series={"all": series}, details=details)


BENCHMARK = Benchmark(
    name="uneven",
    subject="first to last result",
    baseline="sum of the sleeps / 256",
    unit="s",
    bar=Bar(1.5, "at most"),
    aim=1.2,
    run=run,
)
