"""The whole service on a Ray cluster of three nodes: the target of kills of whole nodes."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import orjson

from headrace.status.asking import PATIENCE_S
from schemas.settings.autoscaling import AutoscalingSettings, ConsumerAutoscalingSettings
from schemas.settings.file import Settings
from schemas.settings.placement import PlacementSettings
from tests.chaos.stage.serve_stage import ServeStage, replicas_among
from tests.chaos.stage.stage import SESSION_TIMEOUT_S, Plan
from tests.nodes.progress import Progress
from tests.nodes.ray_host import HEAD
from tests.nodes.ray_nodes import RayNodes
from tests.nodes.service import UpProcess

T = TypeVar("T")

WORKERS = ("a", "b")
_UP_PATIENCE_S = 180.0
FULL_RATE_RATIO = 0.9
"""Of the rate before the kill: two windows of seconds differ by some records."""
FULL_RATE_WITHIN_S = 60.0
_SAMPLE_EVERY_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """What the kill of a node cost.

    Attributes:
        node: Its name.
        before_per_s: Records that finished a second before it.
        away_ratio: Of those, while the node was away.
        longest_gap_s: The longest time without any outcome.
        full_after_s: From the node's return until the rate was back; ``None`` if it was not.
    """

    node: str
    before_per_s: float
    away_ratio: float
    longest_gap_s: float
    full_after_s: float | None


class NodesStage(ServeStage):
    """A stage on three nodes: a head without replicas, and a worker for each of ``WORKERS``.

    A model replica runs on each worker, and cannot run elsewhere while that is away.
    """

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        *,
        workers: tuple[str, ...] = WORKERS,
        is_scaled: bool = False,
    ) -> None:
        super().__init__(plan, folder)
        self._workers = workers
        self._settings = _placed(self._service.settings)
        if is_scaled:
            self._settings = _scaled(self._settings)
        self._running: list[tuple[RayNodes, UpProcess]] = []
        self._progress = Progress()
        self._sampling: asyncio.Task[None] | None = None
        self._kills = itertools.count(1)

    async def start(self) -> None:
        """Start everything; return when the load is answered at its steady rate."""
        await self.cluster.start()
        await self.create_topics()
        await self.observer.start()
        await self.load.start()
        await self._bring_up()
        await self.until(self.is_balanced, 60, "all replicas run")
        self._sampling = asyncio.create_task(self._sample())

    async def stop(self) -> None:
        """Stop everything."""
        if self._sampling is not None:
            self._sampling.cancel()
        await self.load.stop()
        await self.observer.stop()
        try:
            while self._running:
                await self._take_down()
        finally:
            self._thread.shutdown()
            await self.cluster.stop()

    @property
    def nodes(self) -> RayNodes:
        return self._running[0][0]

    @property
    def up(self) -> UpProcess:
        return self._running[0][1]

    async def _bring_up(self) -> None:
        number = len(self._running) + 1
        nodes = RayNodes(self.folder / f"ray{number}")
        up = UpProcess(self._settings, self.folder, f"up{number}")
        self._running.append((nodes, up))
        await self._on_thread(nodes.start, self._workers)
        await self._on_thread(up.start, nodes.address, _UP_PATIENCE_S)

    async def _take_down(self) -> int | None:
        nodes, up = self._running[0]
        try:
            return await self._on_thread(up.stop)
        finally:
            self._running.pop(0)
            await self._on_thread(nodes.stop)

    async def rejoin(self) -> None:
        """If the command's node has gone with the head, end the command, and run it again.

        It must say so, and end without a kill.
        """
        reports = len(self.up.reports())
        await self.until(
            lambda: len(self.up.reports()) > reports, 2 * PATIENCE_S, "`headrace up` reports again"
        )
        if not any("Ray does not answer" in each for each in self.up.reports()[-1]["errors"]):
            return
        if (status := await self._on_thread(self.up.stop)) != 1:
            self.checker.failed("up_hung", f"`headrace up` ended with {status}")
        await self._on_thread(self.up.start, self.nodes.address, _UP_PATIENCE_S)

    def spread(self, deployment: str) -> dict[str, int]:
        """Return how many replicas of a deployment each worker runs."""
        return {
            name: len(replicas_among(self.nodes.processes(name), deployment))
            for name in self._workers
        }

    async def status(self) -> dict[str, Any]:
        """Return what `headrace status` says of the route; if it says nothing, a violation."""
        asked = await self._on_thread(self.up.ask, "status", "--json")
        report: dict[str, Any] = orjson.loads(asked.stdout) if asked.returncode == 0 else {}
        if not report or report["service_error"]:
            self.checker.failed("no_status", str(report.get("service_error", asked.stderr[-500:])))
        return report

    async def upgrade(self) -> float:
        """Move the service to a second cluster; return the rate meanwhile over that before."""
        before_per_s = await self.steady_rate()
        rates: list[float] = []

        async def act() -> None:
            began_s, finished = self.clock.monotonic(), self.checker.finished_records
            await self._bring_up()
            both = 2 * self.plan.members
            await self.until(
                lambda: len(self.consumer_processes()) == both, 60, "both clusters' consumers run"
            )
            # Long enough for two members with one name to fence each other.
            await asyncio.sleep(2 * SESSION_TIMEOUT_S)
            for _nodes, up in self._running:
                for error in [each for report in up.reports()[-5:] for each in report["errors"]]:
                    self.checker.failed("unhealthy", error)
            if (status := await self._take_down()) != 0:
                self.checker.failed("not_drained", f"`headrace up` ended with {status}")
            took_s = self.clock.monotonic() - began_s
            rates.append((self.checker.finished_records - finished) / took_s)

        # Nobody is killed: nothing may be repeated, with at-least-once either.
        await self.during("upgrade", act, is_clean=True, is_disturbing=False)
        return rates[0] / before_per_s

    async def kill(self, name: str, away_s: float) -> Kill:
        """Kill a node with all of its processes, start another for it, wait for the full rate."""
        before_per_s = await self.steady_rate()
        seen: list[Kill] = []

        async def act() -> None:
            killed_at_s, finished = self.clock.monotonic(), self.checker.finished_records
            await self._on_thread(self.nodes.kill, name)
            await asyncio.sleep(away_s)
            gone_s = self.clock.monotonic() - killed_at_s
            away_per_s = (self.checker.finished_records - finished) / gone_s
            await self._on_thread(self.nodes.start_node, name)
            returned_at_s = self.clock.monotonic()
            what = f"{FULL_RATE_RATIO} of the rate after {name} returned"
            is_back = await self.until(
                lambda: (
                    self._progress.rate_since(returned_at_s, self.clock.monotonic())
                    >= FULL_RATE_RATIO * before_per_s
                ),
                FULL_RATE_WITHIN_S,
                what,
            )
            full_after_s = self.clock.monotonic() - returned_at_s
            seen.append(
                Kill(
                    node=name,
                    before_per_s=round(before_per_s, 1),
                    away_ratio=round(away_per_s / before_per_s, 3),
                    longest_gap_s=round(
                        self._progress.longest_gap_s(killed_at_s, self.clock.monotonic()), 2
                    ),
                    full_after_s=round(full_after_s, 1) if is_back else None,
                )
            )

        number = next(self._kills)
        # The head carries no member of the group: nothing may stand still, and nothing be repeated.
        is_head = name == HEAD
        await self.during(
            f"#{number} kill node {name}", act, is_clean=is_head, is_disturbing=not is_head
        )
        return seen[0]

    async def steady_rate(self, over_s: float = 8.0) -> float:
        """Return how many records finish a second, over some seconds from now on."""
        began_s, finished = self.clock.monotonic(), self.checker.finished_records
        await asyncio.sleep(over_s)
        self.observer.check()
        return (self.checker.finished_records - finished) / (self.clock.monotonic() - began_s)

    async def _sample(self) -> None:
        while True:
            self._progress.add(self.clock.monotonic(), self.checker.finished_records)
            await asyncio.sleep(_SAMPLE_EVERY_S)

    async def _on_thread(self, action: Callable[..., T], *arguments: Any) -> T:
        # One thread starts all processes: the kernel ends them with it.
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, partial(action, *arguments))


def _placed(settings: Settings) -> Settings:
    """Return settings with a model replica on each worker.

    The consumers of an exactly-once route stay on a worker each. Others may run on any, so that a
    replacement need not wait for the node.
    """
    models = {
        name: model.model_copy(
            update={
                "import_path": "tests.nodes.model:SteadyModel",
                "placement": PlacementSettings(max_replicas_per_node=1),
            }
        )
        for name, model in settings.models.items()
    }
    apart = PlacementSettings(
        labels={"place": f"in({', '.join(WORKERS)})"}, max_replicas_per_node=1
    )
    routes = {
        name: route.model_copy(update={"placement": apart})
        if route.delivery == "exactly_once"
        else route
        for name, route in settings.routes.items()
    }
    return settings.model_copy(update={"models": models, "routes": routes})


def _scaled(settings: Settings) -> Settings:
    """Return settings in which one consumer and one model replica become two and four."""
    times = {
        "drain_target_s": 10.0,
        "period_s": 1.0,
        "downscale_delay_s": 5.0,
        "expected_cold_start_s": 5.0,
    }
    models = {
        name: model.model_copy(
            update={
                "autoscaling": AutoscalingSettings(max_replicas=4, **times),
                "placement": PlacementSettings(max_replicas_per_node=2),
            }
        )
        for name, model in settings.models.items()
    }
    routes = {
        name: route.model_copy(
            update={
                "autoscaling": ConsumerAutoscalingSettings(
                    max_replicas=2, expected_records_per_s=200.0, **times
                ),
                "placement": PlacementSettings(max_replicas_per_node=1),
            }
        )
        for name, route in settings.routes.items()
    }
    return settings.model_copy(update={"models": models, "routes": routes})
