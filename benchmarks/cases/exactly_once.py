"""``exactly-once``: the cost of publishing results and offsets in one transaction."""

import asyncio
from typing import Literal

from benchmarks import load
from benchmarks.cases.engine import noop_settings
from benchmarks.context import Context
from benchmarks.harness import Bar, Result, rate_per_s
from benchmarks.load import PARTITIONS
from benchmarks.registry import Benchmark
from benchmarks.workloads import NOOP_RECORD_BYTES, noop_lines
from schemas.settings.file import TransactionSettings


def run(context: Context) -> Result:
    """Drain the same backlog in transactions and without; each result must be there once."""
    stage = context.stage
    records = context.size(full=200_000, quick=20_000)
    model = noop_settings()

    def drain(delivery: Literal["at_least_once", "exactly_once"]) -> float:
        with stage.topics() as topics:
            stage.publish(topics, noop_lines(records))
            with stage.consumer(topics, model, delivery=delivery):
                asyncio.run(load.wait_for_commits(stage.bootstrap, topics, records))
            content = asyncio.run(
                load.read_topic(stage.bootstrap, topics.results, "read_committed")
            )
        load.check_results(content, records)
        return rate_per_s(content.timestamps_ms)

    with stage.model(model):
        series = context.interleave(lambda: drain("exactly_once"), lambda: drain("at_least_once"))
    details = {
        "records": records,
        "request_bytes": NOOP_RECORD_BYTES,
        "partitions": PARTITIONS,
        "transaction_linger_ms": TransactionSettings().linger_ms,
        "reader_isolation_level": "read_committed",
    }
    return Result(series={"all": series}, details=details)


BENCHMARK = Benchmark(
    name="exactly-once",
    subject="a no-op route with delivery exactly_once",
    baseline="the same with at_least_once",
    unit="records/s",
    bar=Bar(0.85, "at least"),
    aim=None,
    run=run,
)
