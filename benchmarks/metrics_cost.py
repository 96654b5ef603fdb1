"""What the default metrics cost, in one process: with them and without, in turns.

``python -m benchmarks.metrics_cost`` prints three costs, in time of the CPU:

* ``consumer``: of the decisions of a consumer's engine, from a record that was read to one that is
  acknowledged. The service takes several times as long for a record, so its share is smaller.
* ``batches``: of a replica that runs batches, over a model that costs nothing. A real one costs
  more, so its share is smaller.
* ``reading_ms``: of reading all metrics of a consumer that holds as much as it may, once a second.
"""

import argparse
import asyncio
import gc
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson

from consumer.engine.engine import Engine
from consumer.engine.timings import Timings
from consumer.ports import OffsetAndMetadata, Record, TopicPartition
from consumer.replica.build import build_engine
from consumer.replica.readings import read_engine
from handoff.chunk import STATUS_OK, Chunk, Outcomes
from handoff.clock import SystemClock
from handoff.histogram import Histogram
from schemas.settings.file import FlowSettings, RouteSettings
from serve_models.batching.engine import BatchEngine
from serve_models.chunks.chunk_server import Host
from serve_models.custom.batched_model import BatchedModel
from serve_models.custom.batches import serve_batches
from serve_models.measuring.batches import BatchCounts
from serve_models.measuring.calls import CallCounts

URL = "/v1/embeddings"
ROUTE = RouteSettings(
    model="noop",
    requests_topic="requests",
    results_topic="results",
    dead_letters_topic="dead-letters",
    group="g",
    flow=FlowSettings(max_records=16_384),
)
PARTITIONS = [TopicPartition("requests", number) for number in range(4)]
POLLED = 1_024
BODY = b'{"object":"list","data":[]}'
COUNTING: dict[type, tuple[str, ...]] = {
    Timings: ("dispatched", "published"),
    Histogram: ("observe",),
    BatchCounts: ("ran", "sliced"),
    CallCounts: ("streamed",),
}


@contextmanager
def without_metrics() -> Iterator[None]:
    """Leave out what counts, for as long as the context lasts."""
    kept = [(owner, name, getattr(owner, name)) for owner in COUNTING for name in COUNTING[owner]]
    for owner, name, _ in kept:
        setattr(owner, name, lambda *_args, **_values: None)
    try:
        yield
    finally:
        for owner, name, method in kept:
            setattr(owner, name, method)


def request_line(number: int) -> bytes:
    body = {"input": f"text {number} " * 20}
    return orjson.dumps({"custom_id": f"{number:08}", "method": "POST", "url": URL, "body": body})


def records_of(count: int) -> list[Record]:
    return [
        Record(PARTITIONS[number % 4], number // 4, None, request_line(number), [], 1_000)
        for number in range(count)
    ]


def new_engine() -> Engine:
    engine = build_engine(
        route_name="r",
        route=ROUTE,
        urls=frozenset({URL}),
        consumer="consumer-1",
        metadata_limit_characters=4096,
        jitter=random.Random(1),
    )
    engine.assign({each: OffsetAndMetadata(0, "") for each in PARTITIONS})
    return engine


def consume(records: Sequence[Record]) -> float:
    """Take records through an engine as its loop does; return the seconds that this took."""
    clock, engine = SystemClock(), new_engine()
    started_s = time.process_time()
    for start in range(0, len(records), POLLED):
        engine.deliver(records[start : start + POLLED], clock.monotonic(), clock.epoch_ms())
        while (found := engine.next_call(clock.monotonic(), clock.epoch_ms())) is not None:
            call, chunk = found
            outcomes = Outcomes("replica-1", 4_096)
            for index in range(len(chunk.lines)):
                outcomes.add(index, STATUS_OK, BODY)
            engine.take_outcomes(call, outcomes, clock.monotonic(), clock.epoch_ms())
            engine.end_call(call, "", clock.monotonic(), clock.epoch_ms())
        while items := engine.take_publications(2_048, 4 << 20):
            engine.timings.published(items, clock.monotonic(), clock.epoch_ms())
            engine.events.published.acknowledged(len(items), 1_000)
            engine.acknowledged(items)
        engine.committed(engine.offsets_and_metadata())
    took_s = time.process_time() - started_s
    if engine.counters.completed_records != len(records):
        raise AssertionError("not every record was completed")
    return took_s


class Free(BatchedModel):
    """Answers at once."""

    max_batch_records = 64

    def predict(self, bodies: Sequence[Any]) -> list[Any]:
        return [BODY] * len(bodies)


async def compute(records: Sequence[Record]) -> float:
    """Send lines through a batching replica, in calls of 64; return the seconds that this took."""
    clock = SystemClock()
    engine: BatchEngine = serve_batches(Free(), Host("replica-1", clock))
    engine.start()
    lines = [record.value or b"" for record in records]
    answered = 0

    async def call(start: int) -> None:
        nonlocal answered
        async for outcomes in engine.infer(Chunk("consumer-1", lines[start : start + 64])):
            answered += len(outcomes.indexes)

    started_s = time.process_time()
    for start in range(0, len(lines), 1_024):
        together = range(start, min(start + 1_024, len(lines)), 64)
        await asyncio.gather(*(call(each) for each in together))
    took_s = time.process_time() - started_s
    await engine.stop()
    if answered != len(lines):
        raise AssertionError("not every record was answered")
    return took_s


def _warm(run: Callable[[], float]) -> float:
    """Return the second of two runs: the interpreter adapts to what was left out or put back."""
    run()
    gc.collect()
    return run()


def read_full(records: Sequence[Record]) -> float:
    """Return the seconds of one reading of an engine that holds ``records``."""
    clock, engine = SystemClock(), new_engine()
    engine.deliver(records, clock.monotonic(), clock.epoch_ms())
    started_s = time.process_time()
    for _ in range(20):
        read_engine(engine, clock.monotonic(), clock.epoch_ms())
    return (time.process_time() - started_s) / 20


def compare(run: Callable[[], float], records: int, rounds: int) -> dict[str, float]:
    """Return the cost of a record with and without metrics, of turns that follow each other.

    The least of each counts: whatever else runs on the machine only adds.
    """
    on_s, off_s = [], []
    for _ in range(rounds):
        on_s.append(_warm(run))
        with without_metrics():
            off_s.append(_warm(run))
    with_us, without_us = (min(each) / records * 1e6 for each in (on_s, off_s))
    return {
        "with_us": round(with_us, 2),
        "without_us": round(without_us, 2),
        "ratio": round(with_us / without_us, 3),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=25)
    given = parser.parse_args()
    made = records_of(max(given.records, ROUTE.flow.max_records))
    some = made[: given.records]
    costs = {
        "consumer": compare(lambda: consume(some), given.records, given.rounds),
        "batches": compare(lambda: asyncio.run(compute(some)), given.records, given.rounds),
        "reading_ms": round(read_full(made[: ROUTE.flow.max_records]) * 1e3, 2),
    }
    print(json.dumps(costs, indent=2))
