"""The no-op models: each record once, as many sleeps at a time as allowed."""

import asyncio
from pathlib import Path

from benchmarks.models import Noop, Sleeper
from benchmarks.workloads import noop_lines, sleep_lines
from handoff.chunk import Chunk


async def indexes(model: Noop | Sleeper, chunk: Chunk) -> list[int]:
    return [index async for outcomes in model.infer(chunk) for index in outcomes.indexes]


async def test_noop_answers_every_record() -> None:
    found = await indexes(Noop(body_bytes=64), Chunk("test", list(noop_lines(5))))

    assert found == [0, 1, 2, 3, 4]


async def test_noop_holds_back_while_the_gate_is_closed(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    model = Noop(gate_file=str(gate))

    waiting = asyncio.create_task(indexes(model, Chunk("test", list(noop_lines(2)))))
    await asyncio.sleep(0)
    assert not waiting.done()
    gate.unlink()

    assert await waiting == [0, 1]


async def test_sleeps_end_in_order_of_length_and_wait_their_turn() -> None:
    model = Sleeper(concurrency=2, outcome_linger_ms=0)

    found = await indexes(model, Chunk("test", list(sleep_lines([60, 1, 1, 1]))))

    assert sorted(found) == [0, 1, 2, 3]
    assert found[-1] == 0


async def test_calls_share_the_slots() -> None:
    model = Sleeper(concurrency=1, outcome_linger_ms=0)
    chunks = [Chunk("test", list(sleep_lines([2, 2]))) for _ in range(2)]

    found = await asyncio.gather(*(indexes(model, chunk) for chunk in chunks))

    assert found == [[0, 1], [0, 1]]
