"""Chunks of a generator on a real, local Ray Serve, over an engine without a model."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import orjson
import pytest
import ray
from ray import serve
from ray.exceptions import RayActorError, RayTaskError
from ray.serve._private.constants import SERVE_NAMESPACE

from benchmarks.stand_in_generator import StandInGenerator
from handoff.chunk import STATUS_OK, STATUS_UNAVAILABLE, Chunk, Outcomes
from handoff.model_handle import ModelHandle

pytestmark = pytest.mark.serve

PATIENCE_S = 60.0
LONG_MS = 600_000
REPLICAS = 2
SLOTS = 8


class Caller:
    """A consumer of the model, with the outcomes of its calls by number and index."""

    def __init__(self, handle: Any) -> None:
        self.model = ModelHandle(handle)
        self.statuses: dict[tuple[int, int], int] = {}
        self.replicas: dict[int, str] = {}
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self._heard = asyncio.Event()

    async def call(self, number: int, *milliseconds: int) -> None:
        """Make a call, and wait until its replica has named itself."""
        lines = [
            orjson.dumps({"url": "/v1/completions", "body": {"max_tokens": each}})
            for each in milliseconds
        ]
        chunk = Chunk("caller", lines, call=number)
        self.tasks[number] = asyncio.create_task(self._read(number, self.model.infer(chunk)))
        async with asyncio.timeout(PATIENCE_S):
            while number not in self.replicas:
                await self._next()

    async def until_answered(self, records: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.statuses) < records:
                await self._next()

    async def _next(self) -> None:
        self._heard.clear()
        await self._heard.wait()

    async def _read(self, number: int, stream: AsyncIterator[Outcomes]) -> None:
        async for outcomes in stream:
            if outcomes.replica:
                self.replicas[number] = outcomes.replica
            for call, each in ((number, outcomes), *outcomes.others.items()):
                for index, status in zip(each.indexes, each.statuses, strict=True):
                    assert (call, index) not in self.statuses
                    self.statuses[call, index] = status
            self._heard.set()


def pid_of(replica: str) -> int:
    actors = [each["name"] for each in ray.util.list_named_actors(all_namespaces=True)]
    (name,) = [each for each in actors if each.endswith(f"#{replica}")]
    actor: Any = ray.get_actor(name, namespace=SERVE_NAMESPACE)
    pid: int = ray.get(actor.__ray_call__.remote(lambda _: os.getpid()))
    return pid


@pytest.fixture
def handle(local_serve: None) -> Iterator[Any]:
    deployment: Any = serve.deployment(
        StandInGenerator, num_replicas=REPLICAS, ray_actor_options={"num_cpus": 0.1}
    )
    running = serve.run(deployment.bind(max_num_seqs=SLOTS), name="stand-in", route_prefix=None)
    yield running
    serve.delete("stand-in")


def test_cancelled_records_are_freed_in_the_replica_that_has_them(handle: Any) -> None:
    async def run() -> None:
        caller = Caller(handle)
        for number in (1, 2):
            await caller.call(number, *[LONG_MS] * (SLOTS // 2), 1)
        await caller.until_answered(2)
        assert caller.statuses == {(1, SLOTS // 2): STATUS_OK, (2, SLOTS // 2): STATUS_OK}

        asked_s = time.monotonic()
        await caller.model.cancel("caller", {1: [0, 2], 2: [1]})
        await caller.until_answered(5)
        took_s = time.monotonic() - asked_s

        cancelled = {record for record, status in caller.statuses.items() if status != STATUS_OK}
        assert cancelled == {(1, 0), (1, 2), (2, 1)}
        assert {caller.statuses[each] for each in cancelled} == {STATUS_UNAVAILABLE}
        # Far less than what closes a call that no cancellation reaches.
        assert took_s < 4, took_s

        left = {1: list(range(SLOTS // 2)), 2: list(range(SLOTS // 2))}
        await caller.model.cancel("caller", left)
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*caller.tasks.values())
        assert len(caller.statuses) == 2 * (SLOTS // 2 + 1)

    asyncio.run(run())


def test_a_replica_killed_with_9_ends_its_calls_and_no_others(handle: Any) -> None:
    async def run() -> None:
        caller = Caller(handle)
        number = 0
        # Serve's router chooses: until both replicas have some.
        while len(set(caller.replicas.values())) < REPLICAS:
            number += 1
            await caller.call(number, LONG_MS, LONG_MS)
        killed = caller.replicas[1]
        os.kill(await asyncio.to_thread(pid_of, killed), signal.SIGKILL)
        lost = [each for each, replica in caller.replicas.items() if replica == killed]
        for each in lost:
            with pytest.raises((RayActorError, RayTaskError)):
                await asyncio.wait_for(caller.tasks[each], PATIENCE_S)
        kept = [each for each in caller.replicas if each not in lost]
        assert not any(caller.tasks[each].done() for each in kept)
        await caller.model.cancel("caller", {each: [0, 1] for each in kept})
        for each in kept:
            await asyncio.wait_for(caller.tasks[each], PATIENCE_S)
        assert set(caller.statuses) == {(each, index) for each in kept for index in (0, 1)}

    asyncio.run(run())
