"""``bulk-noop``: what a row costs the bulk command, and what it costs the consumer."""

from benchmarks.bulk_command import BulkRun, run_bulk_embed, write_texts
from benchmarks.context import Context
from benchmarks.harness import Bar, Result, Round, Series
from benchmarks.processes import cpu_seconds
from benchmarks.registry import Benchmark
from benchmarks.workloads import lognormal_texts
from schemas.settings.models import CustomModelSettings

URL = "/v1/embeddings"
DIMENSIONS = 384
BATCH_ROWS = 64
LEAST_ROWS_PER_S = 10_000
MOST_MEMORY_RATIO = 1.2


def noop_embedder() -> CustomModelSettings:
    """Return the settings of a model that answers each text with the same vector, at no cost."""
    return CustomModelSettings(
        kind="custom",
        import_path="benchmarks.models:NoopEmbedder",
        options={"dimensions": DIMENSIONS},
        urls=(URL,),
    )


def run(context: Context) -> Result:
    """Compare the CPU of a row, and memory at few rows and at many."""
    few, many = context.size(full=10_000, quick=640), context.size(full=1_000_000, quick=6_400)
    model = noop_embedder()
    rounds: list[Round] = []
    rates: list[float] = []
    memory: dict[int, float] = {}

    def measure(rows: int) -> tuple[BulkRun, float]:
        source = context.scratch / f"texts-{rows}.parquet"
        if not source.exists():
            # Numbered, so that no two rows are alike.
            some = lognormal_texts(min(rows, 10_000))
            write_texts(source, [f"{n} {some[n % len(some)]}" for n in range(rows)])
        with context.stage.topics() as topics, context.stage.consumer(topics, model) as consumer:
            before_s = cpu_seconds(consumer)
            done = run_bulk_embed(
                source,
                context.stage.bootstrap,
                topics,
                rows,
                ["--column", "text", "--batch-rows", str(BATCH_ROWS)],
            )
            return done, cpu_seconds(consumer) - before_s

    middle = context.size(full=200_000, quick=6_400)
    with context.stage.model(model):
        for number in range(context.rounds):
            done, consumer_s = measure(middle)
            rounds.append(Round(consumer_s / middle * 1e6, done.cpu_s / middle * 1e6))
            rates.append(done.rows_per_s)
            context.say(
                f"round {number + 1}: {done.rows_per_s:,.0f} rows/s; CPU of a row: consumer "
                f"{rounds[-1].subject:.1f} us, command {rounds[-1].baseline:.1f} us"
            )
        for rows in (few, many):
            memory[rows] = measure(rows)[0].peak_mib
    memory_ratio = memory[many] / memory[few]
    missed = []
    if min(rates) < LEAST_ROWS_PER_S:
        missed.append(f"{min(rates):,.0f} rows/s, at least {LEAST_ROWS_PER_S:,}")
    if memory_ratio > MOST_MEMORY_RATIO:
        missed.append(f"memory ratio {memory_ratio:.2f}, at most {MOST_MEMORY_RATIO}")
    for miss in missed:
        context.say(f"missed: {miss}")
    return Result(
        series={"all": Series(rounds)},
        details={
            "rows": middle,
            "batch_rows": BATCH_ROWS,
            "dimensions": DIMENSIONS,
            "rows_per_s": [round(each) for each in rates],
            "memory_mib": {f"{rows} rows": round(mib, 1) for rows, mib in memory.items()},
            "memory_ratio": round(memory_ratio, 3),
            "missed": missed,
        },
        holds=not missed,
    )


BENCHMARK = Benchmark(
    name="bulk-noop",
    subject="CPU of a row in the consumer, with a no-op model",
    baseline="CPU of a row in `headrace bulk embed`",
    unit="us/row",
    bar=Bar(2.0, "at least"),
    aim=None,
    run=run,
)
