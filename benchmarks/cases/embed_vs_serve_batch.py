"""``embed-vs-serve-batch``: the same texts with Ray Serve's own batching pattern."""

import asyncio

from benchmarks.baselines import serve_batch
from benchmarks.cases.embed import (
    MODEL_WHEEL,
    Dtype,
    embedder_settings,
    measure_service,
    model_directory,
    texts_of,
    warm_up,
)
from benchmarks.context import Context
from benchmarks.harness import Bar, Result
from benchmarks.registry import Benchmark
from benchmarks.workloads import lognormal_texts

DTYPE: Dtype = "float32"


def run(context: Context) -> Result:
    """Keep both models loaded, and use one at a time."""
    texts = texts_of(context)
    settings = embedder_settings(context, DTYPE)
    peer = serve_batch.bind(model_directory(), DTYPE, context.cpus)
    with (
        context.stage.model(settings) as handle,
        context.stage.application(peer, "serve-batch") as peer_handle,
    ):
        warm_up(handle)
        asyncio.run(serve_batch.texts_per_s(peer_handle, lognormal_texts(128, seed=1)))
        series = context.interleave(
            lambda: measure_service(context, settings, texts),
            lambda: asyncio.run(serve_batch.texts_per_s(peer_handle, texts)),
        )
    details = {
        "texts": len(texts),
        "model": MODEL_WHEEL,
        "dtype": DTYPE,
        "threads": context.cpus,
        "max_batch_texts": serve_batch.MAX_BATCH_TEXTS,
        "batch_wait_s": serve_batch.BATCH_WAIT_S,
        "calls_in_flight": serve_batch.CALLS_IN_FLIGHT,
    }
    return Result(series={"all": series}, details=details)


BENCHMARK = Benchmark(
    name="embed-vs-serve-batch",
    subject="through Kafka and Serve",
    baseline="@serve.batch(64, 50 ms), one handle call a text",
    unit="texts/s",
    bar=Bar(2.5, "at least"),
    aim=None,
    run=run,
)
