"""``idle-latency``: the time that Kafka adds to one lone request, against a direct handle call."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks import load
from benchmarks.cases.engine import noop_settings
from benchmarks.context import Context
from benchmarks.harness import Result, percentile
from benchmarks.load import PARTITIONS, Topics
from benchmarks.registry import Benchmark
from benchmarks.stage import model_handle
from benchmarks.workloads import noop_lines
from handoff.chunk import Chunk
from handoff.clock import SystemClock

WARM_UP_REQUESTS = 10
PAUSE_S = 0.05
RESULT_TIMEOUT_S = 30.0


@dataclass(slots=True)
class Latencies:
    """All rounds' latencies of one side, in milliseconds."""

    service_ms: list[float] = field(default_factory=list)
    direct_ms: list[float] = field(default_factory=list)


def run(context: Context) -> Result:
    """Send one request at a time, with a pause between, in both ways."""
    stage = context.stage
    requests = context.size(full=300, quick=20)
    model = noop_settings()
    latencies = Latencies()
    with stage.model(model), stage.topics() as topics, stage.consumer(topics, model):

        def service() -> float:
            measured = asyncio.run(_through_kafka(stage.bootstrap, topics, requests))
            latencies.service_ms.extend(measured)
            return percentile(measured, 0.5)

        def direct() -> float:
            measured = asyncio.run(_directly(requests))
            latencies.direct_ms.extend(measured)
            return percentile(measured, 0.5)

        series = context.interleave(service, direct)
    details = {
        "requests": requests,
        "pause_ms": PAUSE_S * 1000,
        **_describe("service", latencies.service_ms),
        **_describe("direct", latencies.direct_ms),
        "added_p50_ms": percentile(latencies.service_ms, 0.5)
        - percentile(latencies.direct_ms, 0.5),
        "added_p99_ms": percentile(latencies.service_ms, 0.99)
        - percentile(latencies.direct_ms, 0.99),
    }
    context.say(
        f"the service adds {details['added_p50_ms']:.1f} ms at p50, "
        f"{details['added_p99_ms']:.1f} ms at p99"
    )
    return Result(series={"all": series}, details=details)


def _describe(side: str, values_ms: Sequence[float]) -> dict[str, float]:
    return {
        f"{side}_p50_ms": percentile(values_ms, 0.5),
        f"{side}_p99_ms": percentile(values_ms, 0.99),
    }


async def _through_kafka(bootstrap: str, topics: Topics, requests: int) -> list[float]:
    """Return the milliseconds from sending each request to holding its result."""
    clock = SystemClock()
    measured = []
    async with load.asking(bootstrap, topics) as (producer, reader):
        for number, line in enumerate(noop_lines(WARM_UP_REQUESTS + requests)):
            started_s = clock.monotonic()
            await producer.send(topics.requests, line, partition=number % PARTITIONS)
            fetched = await reader.getmany(timeout_ms=int(RESULT_TIMEOUT_S * 1000), max_records=1)
            if not fetched:
                raise load.BenchmarkFailedError(
                    f"request {number} had no result after {RESULT_TIMEOUT_S:.0f} s"
                )
            measured.append((clock.monotonic() - started_s) * 1000)
            await asyncio.sleep(PAUSE_S)
    return measured[WARM_UP_REQUESTS:]


async def _directly(requests: int) -> list[float]:
    """Return the milliseconds of each direct handle call."""
    clock = SystemClock()
    handle = model_handle()
    measured = []
    for line in noop_lines(WARM_UP_REQUESTS + requests):
        started_s = clock.monotonic()
        async for _outcomes in handle.remote(Chunk("direct", [line])):
            pass
        measured.append((clock.monotonic() - started_s) * 1000)
        await asyncio.sleep(PAUSE_S)
    return measured[WARM_UP_REQUESTS:]


BENCHMARK = Benchmark(
    name="idle-latency",
    subject="a lone request through Kafka and Serve, p50",
    baseline="a direct handle call, p50",
    unit="ms",
    bar=None,
    aim=None,
    run=run,
)
