"""A generator through Kafka and by ``LLM.generate``, for short, middling and long answers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.baselines.launch import run_measuring_module
from benchmarks.cases.embed import model_directory
from benchmarks.cases.generate import (
    KV_CACHE_GIB,
    completion_line,
    measure_service,
    prompts,
)
from benchmarks.context import Context
from benchmarks.gpu.report import Measured
from benchmarks.random_checkpoints import SMALL_LLAMA, TINY_LLAMA, save_generator
from schemas.settings.models import GeneratorSettings
from serve_models.generation.cpu_dtypes import is_quick_in_bfloat16

OUTPUT_TOKENS = {8: 8_192, 64: 4_096, 512: 1_024}
"""How many requests, by the tokens that each generates."""
QUICK_REQUESTS = 16
LEAST_RATIO = 0.98
UNIT = "output tokens/s"


def measure_generators(context: Context, device: str) -> Iterator[Measured]:
    """Measure each length of answer on ``cpu`` or ``cuda``, with vLLM's defaults on both sides."""
    on_gpu = device == "cuda"
    size = SMALL_LLAMA if on_gpu and not context.is_quick else TINY_LLAMA
    checkpoint = save_generator(context.scratch / "llama", size, model_directory(), device)
    engine_args: dict[str, Any] = {"max_model_len": 1024}
    if not on_gpu:
        engine_args |= {
            "dtype": "bfloat16" if is_quick_in_bfloat16() else "float32",
            "enforce_eager": True,
        }
    settings = GeneratorSettings(
        kind="generator",
        source=f"path:{checkpoint}",
        engine_args=engine_args,
        cpu_kv_cache_gib=KV_CACHE_GIB,
        threads=context.cpus,
        num_cpus=context.cpus,
        num_gpus=1 if on_gpu else 0,
    )
    lines: dict[int, list[bytes]] = {}
    files: list[Path] = []
    for tokens, full in OUTPUT_TOKENS.items():
        requests = context.size(full=full, quick=QUICK_REQUESTS)
        asked = prompts(requests)
        file = context.scratch / f"generate-{tokens}.json"
        file.write_text(json.dumps({"prompts": asked, "tokens": [tokens] * requests}))
        files.append(file)
        lines[tokens] = [
            completion_line(f"{number}", prompt, tokens) for number, prompt in enumerate(asked)
        ]
    service = _through_kafka(context, settings, lines)
    offline = run_measuring_module(
        "benchmarks.baselines.offline_generate",
        [
            *("--model", str(checkpoint)),
            *("--engine-args", json.dumps(engine_args)),
            *("--kv-cache-gib", str(KV_CACHE_GIB)),
            *("--threads", str(context.cpus)),
            *(word for file in files for word in ("--requests", str(file))),
        ],
    )["each"]
    for tokens, rate in zip(OUTPUT_TOKENS, offline, strict=True):
        yield Measured(
            f"generator, answers of {tokens} tokens",
            UNIT,
            service[tokens],
            float(rate),
            "LLM.generate",
            least_ratio=LEAST_RATIO,
        )


def _through_kafka(
    context: Context, settings: GeneratorSettings, lines: dict[int, list[bytes]]
) -> dict[int, float]:
    """Return output tokens/s by the tokens of an answer."""
    stage = context.stage
    rates: dict[int, float] = {}
    done_records = 0
    with (
        stage.model(settings),
        stage.topics() as topics,
        stage.consumer(topics, settings),
    ):
        for tokens, some in lines.items():
            # The first round warms up, as the baseline's process does.
            for part in (some[:QUICK_REQUESTS], some):
                rates[tokens] = measure_service(
                    context, topics, done_records, part, tokens * len(part)
                )
                done_records += len(part)
    return rates
