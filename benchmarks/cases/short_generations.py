"""``short-generations``: what a generator's replica carries when each generation takes little time.

A stand-in engine answers after 1 to 20 ms, so that all around the model is what is measured.
"""

import random
from typing import Any

from ray import serve

from benchmarks.cases.generate import completion_line, prompts
from benchmarks.context import Context
from benchmarks.harness import Bar, Result, rate_per_s
from benchmarks.registry import Benchmark
from benchmarks.stage import MODEL_NAME
from benchmarks.stand_in_engine import LONGEST_MS, SHORTEST_MS
from benchmarks.stand_in_generator import StandInGenerator
from headrace.service.applications import model_application_name, model_deployment_name
from schemas.settings.models import GeneratorSettings

ASKED_RECORDS_PER_S = 5_000.0
"""An H200 answers up to some 3,000 short requests a second, with 8 CPUs beside it."""
MAX_NUM_SEQS = 256


def run(context: Context) -> Result:
    """Drain a backlog of short generations through Kafka and Serve."""
    records = context.size(full=60_000, quick=2_000)
    rng = random.Random(0)
    asked = prompts(256)
    lines = [
        completion_line(f"{number:06}", asked[number % 256], rng.randint(SHORTEST_MS, LONGEST_MS))
        for number in range(records)
    ]
    settings = GeneratorSettings(kind="generator", source="path:/stand-in")
    deployment: Any = serve.deployment(
        StandInGenerator,
        name=model_deployment_name(MODEL_NAME),
        max_ongoing_requests=settings.max_ongoing_requests,
        logging_config={"enable_access_log": False},
    )
    application = deployment.bind(max_num_seqs=MAX_NUM_SEQS)
    with context.stage.application(application, model_application_name(MODEL_NAME)):
        series = context.interleave(
            lambda: rate_per_s(context.stage.drain(settings, lines)), lambda: ASKED_RECORDS_PER_S
        )
    details = {
        "records": records,
        "milliseconds": [SHORTEST_MS, LONGEST_MS],
        "max_num_seqs": MAX_NUM_SEQS,
    }
    return Result(series={"all": series}, details=details)


BENCHMARK = Benchmark(
    name="short-generations",
    subject="one replica of a stand-in generator, through Kafka and Serve",
    baseline="5,000 records/s",
    unit="records/s",
    bar=Bar(1.0, "at least"),
    aim=None,
    run=run,
)
