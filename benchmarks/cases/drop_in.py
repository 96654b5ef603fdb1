"""``drop-in``: gathered calls of the client's ``AsyncOpenAI``, against the same lines as a file."""

import asyncio
from pathlib import Path

import yaml

from benchmarks import load
from benchmarks.baselines.launch import run_measuring_module, run_module
from benchmarks.context import Context
from benchmarks.harness import Bar, Result
from benchmarks.load import PARTITIONS, Topics
from benchmarks.registry import Benchmark
from benchmarks.workloads import CHAT_URL, chat_lines
from schemas.settings.models import CustomModelSettings


def run(context: Context) -> Result:
    """Answer as many chats, by calls that wait for them and by a submitted file."""
    stage = context.stage
    calls = context.size(full=5_000, quick=500)
    model = CustomModelSettings(
        kind="custom", import_path="benchmarks.models:NoopChat", urls=(CHAT_URL,)
    )
    with stage.model(model), stage.topics() as topics, stage.consumer(topics, model):
        file = context.scratch / "chats.jsonl"
        file.write_bytes(b"\n".join(chat_lines(calls)) + b"\n")
        settings = _write_settings(context.scratch, stage.bootstrap, topics)
        where = ["--requests", topics.requests, "--results", topics.results]

        def gathered() -> float:
            measured = run_measuring_module(
                "benchmarks.gathered_calls",
                ["--bootstrap", stage.bootstrap, *where, "--calls", str(calls)],
            )
            return float(calls / measured["seconds"])

        def submitted() -> float:
            before = asyncio.run(load.count_records(stage.bootstrap, topics.results))
            run_module(
                "benchmarks.baselines.submitted_lines", [str(file), "--config", str(settings)]
            )
            asyncio.run(load.wait_for_records(stage.bootstrap, topics.results, before + calls))
            return asyncio.run(_submitted_rate_per_s(stage.bootstrap, topics, before, calls))

        series = context.interleave(gathered, submitted)
    details = {"calls": calls, "partitions": PARTITIONS}
    return Result(series={"all": series}, details=details)


async def _submitted_rate_per_s(bootstrap: str, topics: Topics, before: int, calls: int) -> float:
    """Return the rate from the first request's time to the last result's, of the last file."""
    requests = await load.read_topic(bootstrap, topics.requests)
    results = await load.read_topic(bootstrap, topics.results)
    load.check_ok(results, before + calls)
    began_ms = sorted(requests.timestamps_ms)[-calls]
    return calls * 1000 / (max(results.timestamps_ms) - began_ms)


def _write_settings(folder: Path, bootstrap: str, topics: Topics) -> Path:
    """Write the settings file that ``headrace submit`` reads."""
    path = folder / "headrace.yaml"
    settings = {
        "kafka": {"broker": "external", "bootstrap": bootstrap},
        "models": {
            "noop": {
                "kind": "custom",
                "import_path": "benchmarks.models:NoopChat",
                "urls": [CHAT_URL],
            }
        },
        "routes": {
            "chat": {
                "model": "noop",
                "requests_topic": topics.requests,
                "results_topic": topics.results,
                "dead_letters_topic": topics.dead_letters,
                "group": topics.group,
            }
        },
    }
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


BENCHMARK = Benchmark(
    name="drop-in",
    subject="gathered calls of headrace_client.AsyncOpenAI, from the first call to the last answer",
    baseline="`headrace submit` of the same lines, from its first request to the last result",
    unit="calls/s",
    bar=Bar(0.8, "at least"),
    aim=None,
    run=run,
)
