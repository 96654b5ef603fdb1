"""What a fault switches on inside a consumer ends with that fault."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from tests.chaos.faults.faults import Faults
from tests.chaos.faults.schedule import Fault, Kind
from tests.chaos.stage.stage import Stage
from tests.simulation import simulate


class StubMember:
    """Takes commands like a consumer process: each sets what it names."""

    def __init__(self) -> None:
        self.told: dict[str, float] = {}
        self.most_told: dict[str, float] = {}

    async def command(self, **command: float) -> None:
        self.told |= command
        for name, value in command.items():
            self.most_told[name] = max(value, self.most_told.get(name, 0))


class StubStage:
    """A stage with members only."""

    def __init__(self) -> None:
        self.members = [StubMember(), StubMember()]
        self.duration_s = 0.0

    async def during(self, _name: str, action: Callable[[], Awaitable[Any]], **_: object) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await action()
        self.duration_s = loop.time() - began_s


@pytest.mark.parametrize(
    ("kind", "name"),
    [(Kind.PRODUCE_REFUSED, "refused_batches"), (Kind.PRODUCE_UNKNOWN, "unknown_batches")],
)
def test_batches_fail_only_while_the_fault_lasts(kind: Kind, name: str) -> None:
    stage = StubStage()

    async def main() -> None:
        fault = Fault(number=1, kind=kind, pause_s=0.0, victim=0, strength=1.0)
        await Faults(cast("Stage", stage)).do(fault)

    simulate(main())

    assert stage.duration_s > 0
    # A member may have had no partition, and so nothing to publish, during the fault.
    assert [each.most_told[name] for each in stage.members] == [4, 4]
    assert [each.told[name] for each in stage.members] == [0, 0]
