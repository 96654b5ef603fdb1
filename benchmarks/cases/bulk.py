"""``bulk``: a file through the bulk command, against the script that a user would write."""

from pathlib import Path

from benchmarks.baselines.launch import run_measuring_module
from benchmarks.bulk_command import run_bulk_embed, write_texts
from benchmarks.cases.embed import MODEL_WHEEL, embedder_settings, model_directory, warm_up
from benchmarks.context import Context
from benchmarks.harness import Bar, Result
from benchmarks.registry import Benchmark
from benchmarks.workloads import lognormal_texts


def run(context: Context) -> Result:
    """Embed the same Parquet file with both, one after the other."""
    rows = context.size(full=20_000, quick=256)
    source: Path = context.scratch / "bulk-texts.parquet"
    # Numbered, so that nothing is gained by rows that are alike.
    write_texts(source, [f"{n}: {each}" for n, each in enumerate(lognormal_texts(rows))])
    settings = embedder_settings(context, "float32")

    def command() -> float:
        with context.stage.topics() as topics, context.stage.consumer(topics, settings):
            bootstrap = context.stage.bootstrap
            return run_bulk_embed(source, bootstrap, topics, rows, ["--column", "text"]).rows_per_s

    def script() -> float:
        measured = run_measuring_module(
            "benchmarks.baselines.embed_table",
            [
                *("--model", model_directory()),
                *("--threads", str(context.cpus)),
                *("--source", str(source)),
                *("--out", str(context.scratch / "script.parquet")),
            ],
        )
        return float(measured["rows_per_s"])

    with context.stage.model(settings) as handle:
        warm_up(handle)
        series = context.interleave(command, script)
    return Result(
        series={"all": series},
        details={"rows": rows, "model": MODEL_WHEEL, "threads": context.cpus},
    )


BENCHMARK = Benchmark(
    name="bulk",
    subject="`headrace bulk embed` of a Parquet file, the service up",
    baseline="a script: pyarrow, SentenceTransformer.encode over sorted chunks, Parquet",
    unit="rows/s",
    bar=Bar(1.0, "at least"),
    aim=1.15,
    run=run,
)
