"""A guarded pipeline of small models on a real, local Ray Serve."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
from ray import serve

from handoff.chunk import STATUS_LOST, Chunk
from headrace.service.app import application_of
from headrace.service.applications import (
    model_application_name,
    specs_of,
)
from headrace.service.running import running_applications
from headrace.service.stopping import delete_applications
from schemas.settings.file import RouteSettings, Settings
from schemas.settings.models import CustomModelSettings, ModelSettings
from schemas.settings.pipelines import PipelineSettings

pytestmark = pytest.mark.serve

CHAT = "/v1/chat/completions"
PATIENCE_S = 90.0
LEFT_RECORDS = 2_000
"""Records whose generation takes over ten seconds, so that a caller can leave in the middle."""


class Deployed:
    """The running pipeline, and its generator's requests."""

    def __init__(self, handle: Any, count_file: Path) -> None:
        self.count_file = count_file
        self.handle = handle.options(stream=True, method_name="infer")

    def generated(self) -> Counter[str]:
        return Counter(each.split()[1] for each in self._counted())

    def generator_pids(self) -> set[int]:
        return {int(each.split()[0]) for each in self._counted()}

    def _counted(self) -> list[str]:
        return self.count_file.read_text().splitlines() if self.count_file.exists() else []

    async def wait_until_generated(self, prefix: str, records: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while sum(each.startswith(prefix) for each in self.generated()) < records:
                await asyncio.sleep(0.05)

    async def ask(self, lines: dict[str, bytes]) -> AsyncIterator[tuple[str, int, bytes]]:
        """Yield the outcome of each line of one chunk."""
        ids = list(lines)
        seen: set[int] = set()
        stream = self.handle.remote(Chunk("driver", list(lines.values())))
        try:
            async with asyncio.timeout(PATIENCE_S):
                async for outcomes in stream:
                    assert outcomes.replica
                    assert outcomes.window_records == 256
                    for index, status, body in zip(
                        outcomes.indexes, outcomes.statuses, outcomes.bodies, strict=True
                    ):
                        assert index not in seen
                        seen.add(index)
                        yield ids[index], status, body
        except asyncio.CancelledError:
            stream.cancel()
            raise
        assert seen == set(range(len(ids)))

    async def ask_all(self, lines: dict[str, bytes]) -> dict[str, tuple[int, bytes]]:
        return {each: (status, body) async for each, status, body in self.ask(lines)}


def line(custom_id: str, prompt: str, ms: float = 0) -> bytes:
    body = {"messages": [{"role": "user", "content": prompt}], "ms": ms, "model": "guarded"}
    return orjson.dumps({"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body})


@pytest.fixture
def deployed(local_serve: None, tmp_path: Path) -> Iterator[Deployed]:
    count_file = tmp_path / "generated"
    models: dict[str, ModelSettings] = {
        "guard": CustomModelSettings(
            kind="custom",
            import_path="tests.labelling_model:LabellingModel",
            options={"unsafe_word": "bomb"},
            urls=("/classify",),
            num_cpus=0.1,
        ),
        "chat": CustomModelSettings(
            kind="custom",
            import_path="tests.file_counting_model:FileCountingModel",
            options={"path": str(count_file), "window_records": 16},
            urls=(CHAT,),
            replicas=2,
            num_cpus=0.1,
            health_check_period_s=1.0,
        ),
        "guarded": PipelineSettings.model_validate(
            {
                "kind": "pipeline",
                "urls": [CHAT],
                "num_cpus": 0.1,
                "answer": "generate",
                "steps": {
                    "check": {
                        "model": "guard",
                        "url": "/classify",
                        "body": {"input": "$request.text"},
                        "refuse": [{"when": {"value": "$check.label", "equals": "unsafe"}}],
                    },
                    "generate": {"model": "chat", "after": ["check"]},
                },
            }
        ),
    }
    route = RouteSettings(
        model="guarded", requests_topic="a", results_topic="b", dead_letters_topic="c", group="g"
    )
    settings = Settings(models=models, routes={"r": route})
    for spec in specs_of(settings):
        if spec.name in map(model_application_name, models):
            application = application_of(spec, settings.kafka)
            handle = serve.run(application, name=spec.name, route_prefix=None)
    yield Deployed(handle, count_file)
    delete_applications(PATIENCE_S)


def test_a_refused_prompt_never_reaches_the_generator(deployed: Deployed) -> None:
    lines = {
        f"r{number}": line(f"r{number}", "build a bomb" if number % 3 == 0 else "bake a cake")
        for number in range(300)
    }
    outcomes = asyncio.run(deployed.ask_all(lines))
    refused = {each for each, (status, _) in outcomes.items() if status == 400}
    assert refused == {f"r{number}" for number in range(0, 300, 3)}
    error = orjson.loads(outcomes["r0"][1])["error"]
    assert (error["code"], error["step"], error["value"]) == ("content_filter", "check", "unsafe")
    assert outcomes["r1"] == (200, b'{"echo":"r1"}')
    assert deployed.generated() == Counter(lines.keys() - refused)


def test_a_killed_replica_of_a_step_costs_no_more_than_another_attempt(deployed: Deployed) -> None:
    lines = {f"k{number}": line(f"k{number}", "bake a cake", ms=400) for number in range(300)}
    warm = {f"w{number}": line(f"w{number}", "bake a cake", ms=10) for number in range(100)}

    async def ask_and_kill() -> dict[str, tuple[int, bytes]]:
        # By now both replicas have granted a window of 16 records.
        await deployed.ask_all(warm)
        asking = asyncio.ensure_future(deployed.ask_all(lines))
        await deployed.wait_until_generated("k", 60)
        os.kill(deployed.generator_pids().pop(), signal.SIGKILL)
        return await asking

    outcomes = asyncio.run(ask_and_kill())
    assert {status for status, _ in outcomes.values()} == {200, STATUS_LOST}
    lost = {each for each, (status, _) in outcomes.items() if status == STATUS_LOST}
    assert 0 < len(lost) < len(lines)
    left = lost
    # Serve's router may send a call to the killed replica until it knows; a consumer waits longer.
    for _ in range(5):
        again = asyncio.run(deployed.ask_all({each: lines[each] for each in left}))
        assert {status for status, _ in again.values()} <= {200, STATUS_LOST}
        left = {each for each, (status, _) in again.items() if status == STATUS_LOST}
        if not left:
            break
    assert not left
    generated = deployed.generated()
    assert set(generated) == set(lines) | set(warm)
    assert {each for each, times in generated.items() if times > 1} <= lost


def test_a_caller_that_goes_away_frees_the_models(deployed: Deployed) -> None:
    def lines(prefix: str) -> dict[str, bytes]:
        names = [f"{prefix}{number}" for number in range(LEFT_RECORDS)]
        return {each: line(each, "bake a cake", ms=200) for each in names}

    async def ask_and_leave() -> None:
        asking = asyncio.ensure_future(deployed.ask_all(lines("g")))
        await deployed.wait_until_generated("g", 1)
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        assert asking.cancelled()
        stream = deployed.handle.remote(Chunk("driver", list(lines("h").values())))
        async for _ in stream:
            break
        stream.cancel()

    asyncio.run(ask_and_leave())
    other = {f"o{number}": line(f"o{number}", "bake a cake") for number in range(10)}
    outcomes = asyncio.run(deployed.ask_all(other))
    assert {status for status, _ in outcomes.values()} == {200}
    generated = Counter(each[0] for each in deployed.generated())
    assert 0 < generated["g"] < LEFT_RECORDS
    assert 0 < generated["h"] < LEFT_RECORDS


def test_a_stop_does_not_wait_for_steps_that_can_no_longer_be_asked(deployed: Deployed) -> None:
    lines = {f"s{number}": line(f"s{number}", "bake a cake", ms=300) for number in range(200)}

    async def ask_and_stop() -> dict[str, int]:
        statuses = {}

        async def ask() -> None:
            async for each, status, _ in deployed.ask(lines):
                statuses.update({each: status})

        asking = asyncio.ensure_future(ask())
        await deployed.wait_until_generated("s", 10)
        for name in running_applications():
            serve.delete(name, _blocking=False)
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(asking, return_exceptions=True)
        return statuses

    started_s = time.monotonic()
    statuses = asyncio.run(ask_and_stop())
    assert set(statuses.values()) <= {200, STATUS_LOST}
    assert time.monotonic() - started_s < 60
