"""``embed-thin``: an embedder that costs next to nothing, so that what is around it is measured."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import load
from benchmarks.baselines.launch import run_measuring_module
from benchmarks.cases.embed import model_directory, warm_up
from benchmarks.context import Context
from benchmarks.cpu_shares import MODEL, between, cpu_by_part
from benchmarks.harness import Bar, Result, Series, rate_per_s
from benchmarks.load import Topics
from benchmarks.random_checkpoints import THIN, save_encoder
from benchmarks.registry import Benchmark
from benchmarks.stage import MODEL_NAME, ROUTE_NAME
from benchmarks.workloads import grouped_embedding_lines, lognormal_texts
from headrace.service.applications import consumer_deployment_name, model_deployment_name
from schemas.settings.models import EmbedderSettings

ENCODE_BATCH_TEXTS = 256
LEAST_RATIO = {1: 0.55, 64: 1.0}
"""By the texts of a request."""
STAGES_TEXTS = 4_096
BATCHES = "calls, hand-over and the rest"


@dataclass(frozen=True, slots=True)
class _Thin:
    settings: EmbedderSettings
    checkpoint: Path
    texts: list[str]
    texts_file: Path


def run(context: Context) -> Result:
    """Measure requests of one text and of many, then tell apart what a text's CPU goes to."""
    thin = _prepare(context)
    series: dict[str, Series] = {}
    profiles: dict[str, dict[str, float]] = {}
    with context.stage.model(thin.settings) as handle:
        warm_up(handle)
        for texts_per_request in LEAST_RATIO:
            label = f"{texts_per_request} a request"
            context.say(label)
            drained: list[dict[str, float]] = []
            series[label] = context.interleave(
                partial(_drain, context, thin, texts_per_request, drained),
                partial(_encode, context, thin),
            )
            profiles[label] = _profile(thin, texts_per_request, drained[-1])
            _say_profile(context, profiles[label])
    missed = [
        f"{texts_per_request} a request: {series[f'{texts_per_request} a request'].ratio:.3f}, "
        f"at least {least:g}"
        for texts_per_request, least in LEAST_RATIO.items()
        if series[f"{texts_per_request} a request"].ratio < least
    ]
    for miss in missed:
        context.say(f"missed: {miss}")
    details = {
        "texts": len(thin.texts),
        "layers": THIN.layers,
        "dimensions": THIN.hidden,
        "encode_batch_texts": ENCODE_BATCH_TEXTS,
        "least_ratio": {f"{each} a request": least for each, least in LEAST_RATIO.items()},
        "cpu_us_a_text": profiles,
        "settings": thin.settings.model_dump(mode="json"),
        "missed": missed,
    }
    return Result(series=series, details=details, holds=not missed)


def _prepare(context: Context) -> _Thin:
    checkpoint = save_encoder(context.scratch / "thin", THIN, model_directory())
    texts = lognormal_texts(context.size(full=30_000, quick=256))
    texts_file = context.scratch / "thin.json"
    texts_file.write_text(json.dumps(texts))
    settings = EmbedderSettings(
        kind="embedder",
        source=f"path:{checkpoint}",
        device="cpu",
        dtype="float32",
        threads=context.cpus,
        num_cpus=context.cpus,
    )
    return _Thin(settings, checkpoint, texts, texts_file)


def _encode(context: Context, thin: _Thin) -> float:
    measured = run_measuring_module(
        "benchmarks.baselines.offline_encode",
        [
            *("--model", str(thin.checkpoint)),
            *("--dtype", "float32"),
            *("--threads", str(context.cpus)),
            *("--texts", str(thin.texts_file)),
            *("--batch-texts", str(ENCODE_BATCH_TEXTS)),
        ],
    )
    return float(measured["texts_per_s"])


def _drain(
    context: Context, thin: _Thin, texts_per_request: int, into: list[dict[str, float]]
) -> float:
    """Return texts/s, and note the CPU microseconds a text by process."""
    stage = context.stage
    lines = grouped_embedding_lines(thin.texts, texts_per_request)
    with stage.topics() as topics:
        records = stage.publish(topics, lines)
        with stage.consumer(topics, thin.settings):
            into.append(_watch_cpu(stage.bootstrap, topics, records, texts_per_request))
        content = asyncio.run(load.read_topic(stage.bootstrap, topics.results))
    load.check_results(content, records)
    return rate_per_s(content.timestamps_ms) * texts_per_request


def _watch_cpu(
    bootstrap: str, topics: Topics, records: int, texts_per_request: int
) -> dict[str, float]:
    """Wait for all results; return the CPU microseconds a text, of the last nine tenths."""
    readings: list[tuple[int, Mapping[str, float]]] = []
    deployments = consumer_deployment_name(ROUTE_NAME), model_deployment_name(MODEL_NAME)

    def take_note(count: int) -> None:
        # The first results come behind what the consumer's start takes.
        is_last = count >= records
        if (not readings and count >= records / 10) or is_last:
            readings.append((count, cpu_by_part(*deployments)))

    asyncio.run(load.wait_for_records(bootstrap, topics.results, records, on_count=take_note))
    (first_records, before), (last_records, after) = readings[0], readings[-1]
    texts = max(1, last_records - first_records) * texts_per_request
    return {part: cpu_s / texts * 1e6 for part, cpu_s in between(before, after).items()}


def _profile(thin: _Thin, texts_per_request: int, drained: Mapping[str, float]) -> dict[str, float]:
    """Return the CPU microseconds of a text by what they go to."""
    some = thin.texts_file.with_name("thin-some.json")
    some.write_text(json.dumps(thin.texts[:STAGES_TEXTS]))
    stages: dict[str, Any] = run_measuring_module(
        "benchmarks.embed_stages",
        [
            *("--settings", thin.settings.model_dump_json()),
            *("--texts", str(some)),
            *("--texts-per-request", str(texts_per_request)),
        ],
    )
    rest = drained[MODEL] - sum(stages.values())
    return {
        **{f"{MODEL}: {stage}": round(cpu_us, 1) for stage, cpu_us in stages.items()},
        f"{MODEL}: {BATCHES}": round(rest, 1),
        **{part: round(cpu_us, 1) for part, cpu_us in drained.items() if part != MODEL},
    }


def _say_profile(context: Context, profile: Mapping[str, float]) -> None:
    whole = sum(profile.values()) or 1.0
    context.say("CPU of a text, in microseconds:")
    for part, cpu_us in profile.items():
        context.say(f"  {part:<48} {cpu_us:8.1f} {cpu_us / whole:6.1%}")


BENCHMARK = Benchmark(
    name="embed-thin",
    subject="one random layer of 32 dimensions through Kafka and Serve, base64",
    baseline="SentenceTransformer.encode on the same texts, offline, batches of 256",
    unit="texts/s",
    bar=Bar(min(LEAST_RATIO.values()), "at least"),
    aim=None,
    run=run,
)
