"""``mixed``: how long short generations wait while long ones run in the same replica."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks import load
from benchmarks.baselines.batch_consumer import consume_in_batches
from benchmarks.cases.generate import (
    LONGEST_TOKENS,
    SHORTEST_TOKENS,
    completion_line,
    generator_settings,
    prompts,
)
from benchmarks.context import Context
from benchmarks.harness import Result, percentile
from benchmarks.load import BenchmarkFailedError, Topics
from benchmarks.registry import Benchmark
from handoff.clock import SystemClock

LONG_REQUESTS = 8
PAUSE_S = 0.25
RESULT_TIMEOUT_S = 120.0


@dataclass(slots=True)
class Times:
    """All rounds' times to result of short requests, in milliseconds."""

    alone_ms: list[float] = field(default_factory=list)
    beside_long_ms: list[float] = field(default_factory=list)
    in_batches_ms: list[float] = field(default_factory=list)


def run(context: Context) -> Result:
    """Send short requests one after the other, alone and among long ones."""
    short_requests = context.size(full=24, quick=3)
    settings = generator_settings(context)
    stage = context.stage
    times = Times()

    with stage.model(settings) as handle:
        with stage.topics() as topics, stage.consumer(topics, settings):
            asker = Asker(stage.bootstrap, topics, short_requests)
            asyncio.run(asker.ask(long_requests=0))  # warms up

            def beside_long() -> float:
                measured = asyncio.run(asker.ask(long_requests=LONG_REQUESTS))
                times.beside_long_ms += measured
                return percentile(measured, 0.5)

            def alone() -> float:
                measured = asyncio.run(asker.ask(long_requests=0))
                times.alone_ms += measured
                return percentile(measured, 0.5)

            series = context.interleave(beside_long, alone)
        with stage.topics() as topics:
            asker = Asker(stage.bootstrap, topics, short_requests)
            for _ in range(context.rounds):
                times.in_batches_ms += asyncio.run(
                    _beside(asker, lambda: consume_in_batches(stage.bootstrap, topics, handle))
                )
    details = {
        "short_requests": short_requests,
        "short_tokens": SHORTEST_TOKENS,
        "long_requests": LONG_REQUESTS,
        "long_tokens": LONGEST_TOKENS,
        "pause_ms": PAUSE_S * 1000,
        **_describe("alone", times.alone_ms),
        **_describe("beside_long", times.beside_long_ms),
        **_describe("beside_long_in_batches", times.in_batches_ms),
        "in_batches_over_service_p50": percentile(times.in_batches_ms, 0.5)
        / percentile(times.beside_long_ms, 0.5),
    }
    context.say(
        "a consumer that waits for its batch and commits in order: "
        f"p50 {details['beside_long_in_batches_p50_ms']:,.0f} ms, "
        f"{details['in_batches_over_service_p50']:.1f} times the service's"
    )
    return Result(series={"all": series}, details=details)


def _describe(side: str, values_ms: Sequence[float]) -> dict[str, float]:
    return {
        f"{side}_p50_ms": percentile(values_ms, 0.5),
        f"{side}_max_ms": max(values_ms),
    }


async def _beside(asker: "Asker", consume: Callable[[], Any]) -> list[float]:
    """Send short requests among long ones while ``consume`` runs in the background."""
    consuming = asyncio.create_task(consume())
    asking = asyncio.create_task(asker.ask(long_requests=LONG_REQUESTS))
    await asyncio.wait([consuming, asking], return_when=asyncio.FIRST_COMPLETED)
    if not asking.done():
        asking.cancel()
        consuming.result()
        raise BenchmarkFailedError("the consumer that waits for its batch ended by itself")
    consuming.cancel()
    await asyncio.wait([consuming])
    return asking.result()


class Asker:
    """Publishes requests and times the results of the short ones.

    Args:
        bootstrap: The broker.
        topics: Requests go to one, results come on another.
        short_requests: How many short requests to time.
    """

    def __init__(self, bootstrap: str, topics: Topics, short_requests: int) -> None:
        self._bootstrap = bootstrap
        self._topics = topics
        self._short_requests = short_requests
        self._clock = SystemClock()

    async def ask(self, long_requests: int) -> list[float]:
        """Return the milliseconds from each short request to its result.

        With ``long_requests`` above 0, that many are in flight throughout: one more is published
        for each that is answered.

        Raises:
            BenchmarkFailedError: A result is missing, or is not of status 200.
        """
        async with load.asking(self._bootstrap, self._topics) as (producer, reader):
            return await self._time_short_ones(producer, reader, long_requests)

    async def _time_short_ones(
        self, producer: AIOKafkaProducer, reader: AIOKafkaConsumer, long_requests: int
    ) -> list[float]:
        prompt = prompts(1)[0]
        sent_s: dict[str, float] = {}
        measured: list[float] = []
        unanswered_long = 0
        give_up_at_s = self._clock.monotonic() + RESULT_TIMEOUT_S * self._short_requests
        next_short_at_s = self._clock.monotonic() + PAUSE_S
        while len(measured) < self._short_requests or unanswered_long:
            if len(measured) < self._short_requests:
                while unanswered_long < long_requests:
                    await self._send(producer, "long", prompt, LONGEST_TOKENS)
                    unanswered_long += 1
                if self._clock.monotonic() >= next_short_at_s and len(sent_s) < (
                    self._short_requests
                ):
                    name = f"short-{len(sent_s)}"
                    sent_s[name] = self._clock.monotonic()
                    await self._send(producer, name, prompt, SHORTEST_TOKENS)
                    next_short_at_s += PAUSE_S
            wait_s = max(0.001, next_short_at_s - self._clock.monotonic())
            fetched = await reader.getmany(timeout_ms=int(min(wait_s, PAUSE_S) * 1000))
            for records in fetched.values():
                for record in records:
                    name = self._name_of(record.value)
                    if name == "long":
                        unanswered_long -= 1
                    else:
                        measured.append((self._clock.monotonic() - sent_s[name]) * 1000)
            if self._clock.monotonic() > give_up_at_s:
                raise BenchmarkFailedError(
                    f"{len(measured)} of {self._short_requests} short requests were answered"
                )
        return measured

    async def _send(self, producer: AIOKafkaProducer, name: str, prompt: str, tokens: int) -> None:
        await producer.send(self._topics.requests, completion_line(name, prompt, tokens))

    @staticmethod
    def _name_of(value: bytes) -> str:
        line = orjson.loads(value)
        if (line["response"] or {}).get("status_code") != load.OK_STATUS:
            raise BenchmarkFailedError(f"a request was not answered: {value[:500]!r}")
        name: str = line["custom_id"]
        return name


BENCHMARK = Benchmark(
    name="mixed",
    subject="p50 time to result of short requests beside long ones",
    baseline="alone",
    unit="ms",
    bar=None,
    aim=None,
    run=run,
)
