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
from serve_models.batching.forward_cost import ForwardCost
from serve_models.batching.isolation import cost_tokens
from serve_models.batching.limits import BatchLimits
from serve_models.batching.pool import Pool
from serve_models.batching.preparation import MOST_RECORDS
from serve_models.batching.token_budget import worthwhile_tokens
from serve_models.text.kinds import endpoints_of
from serve_models.text.models.base import CheckedModel
from serve_models.text.models.devices import bound_tokenizer_threads, use_threads
from serve_models.text.models.embedding import EmbeddingModel

WARM_UP_TEXTS = 512
JSON_STAGE = "JSON and checks"
TOKENIZATION = "tokenization"
PROBES = 8


class Stages:
    """The CPU seconds of each stage, of all threads.

    Attributes:
        cpu_s: By stage.
        last_s: Of the block that was timed last.
    """

    def __init__(self) -> None:
        self.cpu_s: dict[str, float] = {}
        self.last_s = 0.0

    @contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Add what the block takes to a stage."""
        before_s = time.process_time()
        yield
        self.last_s = time.process_time() - before_s
        self.cpu_s[stage] = self.cpu_s.get(stage, 0.0) + self.last_s


class Replica:
    """The parts of a replica, without what connects them."""

    def __init__(self, settings: EmbedderSettings) -> None:
        bound_tokenizer_threads(1)
        use_threads(1)
        self.model = EmbeddingModel(Path(settings.source.removeprefix("path:")), settings, "cpu")
        self.checked: Any = CheckedModel(self.model)
        self.endpoints = endpoints_of(self.model, "benched", settings)
        self.limits = BatchLimits.of(settings, "cpu")
        self.cost = ForwardCost()
        self._learn_small_batches()

    @property
    def budget_tokens(self) -> int:
        """The budget of batches, as a replica learns it."""
        limits = self.limits
        return worthwhile_tokens(
            self.cost.fixed_tokens, limits.token_budget_tokens, limits.most_budget_tokens
        )

    def prepare(self, lines: list[bytes], texts: list[str], into: Stages) -> list[Any]:
        """Check and tokenize request lines in slices, and return their requests."""
        requests: list[Any] = []
        for start in range(0, len(lines), MOST_RECORDS):
            with into.timing(JSON_STAGE):
                requests += self.endpoints.prepare(lines[start : start + MOST_RECORDS])
        for start in range(0, len(texts), MOST_RECORDS):
            part = texts[start : start + MOST_RECORDS]
            with into.timing(TOKENIZATION):
                self.model.tokenize(part, [None] * len(part))
        # The requests were tokenized too.
        both_s = into.cpu_s[JSON_STAGE]
        into.cpu_s[JSON_STAGE] = max(0.0, both_s - into.cpu_s[TOKENIZATION])
        return requests

    def run(self, requests: list[Any], into: Stages) -> None:
        """Cut batches of requests, run them, and write the answers."""
        limits = self.limits
        pool: Pool[Any] = Pool(self.budget_tokens, limits.max_batch_texts, 1.0)
        waiting = [
            (request, position) for request in requests for position in range(len(request.texts))
        ]
        for start in range(0, len(waiting), limits.pool_texts):
            for request, position in waiting[start : start + limits.pool_texts]:
                pool.add((request, position), request.texts[position].tokens, 0.0)
            while len(pool):
                with into.timing("pool"):
                    batch = pool.next_batch(0.0)
                self._run_batch(batch, into)
                pool.fixed_tokens = self.cost.fixed_tokens
                pool.token_budget_tokens = self.budget_tokens

    def _run_batch(self, batch: list[tuple[Any, int]], into: Stages) -> None:
        items = [request.texts[position] for request, position in batch]
        with into.timing("forward"):
            rows = self.checked.run(items)
        self.cost.batch_finished(cost_tokens(items), into.last_s)
        complete = [
            request
            for (request, position), row in zip(batch, rows, strict=True)
            if request.place(position, row)
        ]
        with into.timing("answers"):
            self.endpoints.respond(complete)

    def _learn_small_batches(self) -> None:
        probe, probes = self.checked.probe(), Stages()
        for _ in range(PROBES):
            with probes.timing("probe"):
                self.checked.run([probe])
            self.cost.batch_finished(probe.tokens, probes.last_s)


def measure(settings: EmbedderSettings, texts: list[str], texts_per_request: int) -> Stages:
    """Take texts through the parts of a replica, with the slices and batches that it would use."""
    replica = Replica(settings)
    stages = Stages()
    for some in (texts[:WARM_UP_TEXTS], texts):
        stages = Stages()
        lines = list(grouped_embedding_lines(some, texts_per_request))
        replica.run(replica.prepare(lines, some, stages), stages)
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
