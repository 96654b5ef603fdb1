"""``engine``: the share of aiokafka's speed that remains with all of the service around it."""

import asyncio

from benchmarks import load
from benchmarks.baselines.launch import run_module
from benchmarks.context import Context
from benchmarks.harness import Bar, Result, rate_per_s
from benchmarks.load import PARTITIONS
from benchmarks.registry import Benchmark
from benchmarks.workloads import NOOP_RECORD_BYTES, NOOP_URL, noop_lines
from schemas.settings.models import CustomModelSettings
from schemas.wire.results import encode_response_line, result_id

_SAMPLE_TOPIC = "bench-000000-000-requests"


def noop_settings(**options: object) -> CustomModelSettings:
    """Return the settings of a no-op model whose result lines are as long as the requests."""
    line_id = result_id(_SAMPLE_TOPIC, 0, 10_000)
    around_bytes = len(encode_response_line(line_id, f"{0:08}", 200, b""))
    return CustomModelSettings(
        kind="custom",
        import_path="benchmarks.models:Noop",
        options={"body_bytes": NOOP_RECORD_BYTES - around_bytes, **options},
        urls=(NOOP_URL,),
    )


def run(context: Context) -> Result:
    """Drain the same backlog with the service and with a bare loop."""
    stage = context.stage
    records = context.size(full=200_000, quick=20_000)
    model = noop_settings()

    def service() -> float:
        return rate_per_s(stage.drain(model, noop_lines(records)))

    def bare_loop(api: str = "send") -> float:
        with stage.topics() as topics:
            stage.publish(topics, noop_lines(records))
            run_module(
                "benchmarks.baselines.aiokafka_loop",
                [
                    *("--bootstrap", stage.bootstrap),
                    *("--source", topics.requests),
                    *("--sink", topics.results),
                    *("--group", f"{topics.requests}-group"),
                    *("--records", str(records)),
                    *("--api", api),
                ],
            )
            content = asyncio.run(load.read_topic(stage.bootstrap, topics.results))
        load.check_results(content, records, expect_ok=False)
        return rate_per_s(content.timestamps_ms)

    with stage.model(model):
        series = context.interleave(service, bare_loop)
        batch_loop = bare_loop("batch")
    details = {
        "records": records,
        "request_bytes": NOOP_RECORD_BYTES,
        "partitions": PARTITIONS,
        # What the same loop does with whole batches: the ceiling, with no decisions at all.
        "batch_loop_records_per_s": round(batch_loop),
    }
    return Result(series={"all": series}, details=details)


BENCHMARK = Benchmark(
    name="engine",
    subject="the service with a no-op model in a Serve replica",
    baseline="a bare aiokafka consume-produce loop (getmany of 256, send)",
    unit="records/s",
    bar=Bar(0.65, "at least"),
    aim=0.8,
    run=run,
)
