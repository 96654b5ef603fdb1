"""Encoders of two sizes: through Kafka, by the library's own call, and by infinity's engine."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks import load
from benchmarks.baselines.launch import run_measuring_module
from benchmarks.cases.embed import model_directory, warm_up
from benchmarks.context import Context
from benchmarks.gpu.busy import BusySampler, mean_busy
from benchmarks.gpu.report import Measured
from benchmarks.harness import rate_per_s
from benchmarks.random_checkpoints import BASE, MINILM, EncoderSize, save_encoder
from benchmarks.workloads import grouped_embedding_lines, lognormal_texts
from schemas.settings.models import EmbedderSettings

TEXTS_A_REQUEST = 64
ENCODE_BATCH_TEXTS = 256
WARM_UP_TEXTS = 8_192
UNIT = "texts/s"


@dataclass(frozen=True, slots=True)
class _Case:
    name: str
    size: EncoderSize
    texts: int
    least_texts_per_s: float | None
    least_busy: float | None


CASES = (
    _Case("encoder of MiniLM's size", MINILM, 200_000, 20_000.0, None),
    _Case("encoder of bge-base's size", BASE, 100_000, None, 0.8),
)
LEAST_RATIO_TO_ENCODE = 2.0
LEAST_RATIO_TO_INFINITY = 1.0


def measure_encoders(context: Context, device: str) -> Iterator[Measured]:
    """Measure each size on ``cpu`` or ``cuda``, all sides in the same minutes."""
    for case in CASES:
        context.say(case.name)
        texts = lognormal_texts(context.size(full=case.texts, quick=256))
        texts_file = context.scratch / "gpu-texts.json"
        texts_file.write_text(json.dumps(texts))
        checkpoint = save_encoder(context.scratch / case.name, case.size, model_directory())
        dtype = "bfloat16" if device == "cuda" else "float32"
        settings = EmbedderSettings(
            kind="embedder",
            source=f"path:{checkpoint}",
            device=device,
            dtype=dtype,
            num_gpus=1 if device == "cuda" else 0,
            num_cpus=context.cpus,
        )
        service, busy = _through_kafka(context, settings, texts)
        encode = _measure(
            "benchmarks.baselines.offline_encode",
            [
                *("--model", str(checkpoint)),
                *("--dtype", dtype),
                *("--threads", str(context.cpus)),
                *("--texts", str(texts_file)),
                *("--batch-texts", str(ENCODE_BATCH_TEXTS)),
                *("--device", device),
            ],
        )
        yield Measured(
            case.name,
            UNIT,
            service,
            encode,
            f"SentenceTransformer.encode, {dtype}, batches of {ENCODE_BATCH_TEXTS}",
            least_ratio=LEAST_RATIO_TO_ENCODE,
            least_service=case.least_texts_per_s,
            busy=busy,
            least_busy=case.least_busy,
        )
        yield Measured(
            case.name,
            UNIT,
            service,
            _infinity(checkpoint, texts_file, device, dtype),
            "infinity-emb's engine in its own process",
            least_ratio=LEAST_RATIO_TO_INFINITY,
        )


def _through_kafka(
    context: Context, settings: EmbedderSettings, texts: list[str]
) -> tuple[float, float | None]:
    """Return texts/s, and the GPU's share of that time at work."""
    stage = context.stage
    few = texts[:WARM_UP_TEXTS]
    with stage.model(settings) as handle:
        warm_up(handle)
        # A new consumer, and a model that has learned the sizes of its batches.
        for some in (few, texts):
            with stage.topics() as topics:
                records = stage.publish(topics, grouped_embedding_lines(some, TEXTS_A_REQUEST))
                with BusySampler() as sampler, stage.consumer(topics, settings):
                    asyncio.run(load.wait_for_records(stage.bootstrap, topics.results, records))
                content = asyncio.run(load.read_topic(stage.bootstrap, topics.results))
            load.check_results(content, records)
    times_ms = content.timestamps_ms
    rate = rate_per_s(times_ms) * TEXTS_A_REQUEST
    return rate, mean_busy(sampler.samples, min(times_ms), max(times_ms))


def _infinity(checkpoint: Path, texts_file: Path, device: str, dtype: str) -> float | None:
    if find_spec("infinity_emb") is None:
        return None
    return _measure(
        "benchmarks.baselines.offline_infinity",
        [
            *("--model", str(checkpoint)),
            *("--dtype", dtype),
            *("--texts", str(texts_file)),
            *("--device", device),
        ],
    )


def _measure(module: str, arguments: list[str]) -> float:
    return float(run_measuring_module(module, arguments)["texts_per_s"])
