"""What the parts of an embedder's work cost, one after the other in one process.

Run as ``python -m benchmarks.embed_stages``: prints microseconds of CPU a text as one JSON line.
"""

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from benchmarks.workloads import grouped_embedding_lines
from schemas.settings.models import EmbedderSettings
from serve_models.batching.limits import BatchLimits
from serve_models.batching.pool import Pool
from serve_models.batching.preparation import MOST_RECORDS
from serve_models.text.kinds import endpoints_of
from serve_models.text.models.base import CheckedModel
from serve_models.text.models.devices import bound_tokenizer_threads, use_threads
from serve_models.text.models.embedding import EmbeddingModel

WARM_UP_TEXTS = 512
JSON_STAGE = "JSON and checks"
STAGES = ("tokenization", "pool", "forward", "answers")


class Stages:
    """The CPU seconds of each stage, of all threads."""

    def __init__(self) -> None:
        self.cpu_s: dict[str, float] = {}

    @contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Add what the block takes to a stage."""
        before_s = time.process_time()
        yield
        taken_s = time.process_time() - before_s
        self.cpu_s[stage] = self.cpu_s.get(stage, 0.0) + taken_s


def measure(settings: EmbedderSettings, texts: list[str], texts_per_request: int) -> Stages:
    """Take texts through the parts of a replica, with the slices and batches that it would use."""
    bound_tokenizer_threads(1)
    use_threads(1)
    model = EmbeddingModel(Path(settings.source.removeprefix("path:")), settings, "cpu")
    checked: Any = CheckedModel(model)
    endpoints = endpoints_of(model, "benched", settings)
    limits = BatchLimits.of(settings, "cpu")
    stages = Stages()
    for some, into in ((texts[:WARM_UP_TEXTS], Stages()), (texts, stages)):
        lines = list(grouped_embedding_lines(some, texts_per_request))
        for start in range(0, len(lines), MOST_RECORDS):
            with into.timing("all of preparation"):
                endpoints.prepare(lines[start : start + MOST_RECORDS])
        names = [None] * MOST_RECORDS
        for start in range(0, len(some), MOST_RECORDS):
            part = some[start : start + MOST_RECORDS]
            with into.timing("tokenization"):
                model.tokenize(part, names[: len(part)])
        preparation_s = into.cpu_s.pop("all of preparation")
        into.cpu_s[JSON_STAGE] = max(0.0, preparation_s - into.cpu_s["tokenization"])
        requests = endpoints.prepare(lines)
        pool: Pool[Any] = Pool(limits.token_budget_tokens, limits.max_batch_texts, 1.0)
        waiting = [
            (request, position)
            for request in requests
            for position in range(len(request.texts))  # type: ignore[union-attr] # none is refused
        ]
        for start in range(0, len(waiting), limits.pool_texts):
            for request, position in waiting[start : start + limits.pool_texts]:
                with_tokens = request.texts[position].tokens  # type: ignore[union-attr]
                pool.add((request, position), with_tokens, 0.0)
            while True:
                with into.timing("pool"):
                    batch = pool.next_batch(0.0)
                if not batch:
                    break
                items = [request.texts[position] for request, position in batch]
                with into.timing("forward"):
                    rows = checked.run(items)
                complete = [
                    request
                    for (request, position), row in zip(batch, rows, strict=True)
                    if request.place(position, row)
                ]
                with into.timing("answers"):
                    endpoints.respond(complete)
    return stages


def main() -> None:
    """Read the command line, warm up, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", required=True, help="the model's settings, as JSON")
    parser.add_argument("--texts", type=Path, required=True, help="a JSON list of texts")
    parser.add_argument("--texts-per-request", type=int, required=True)
    arguments = parser.parse_args()
    texts: list[str] = orjson.loads(arguments.texts.read_bytes())
    settings = EmbedderSettings.model_validate_json(arguments.settings)
    stages = measure(settings, texts, arguments.texts_per_request)
    print(json.dumps({name: cpu_s / len(texts) * 1e6 for name, cpu_s in stages.cpu_s.items()}))


if __name__ == "__main__":
    main()
