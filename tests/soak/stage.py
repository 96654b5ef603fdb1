"""The whole service under a load that is measured first, with a checker that also keeps times."""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from headrace.observability.alerts.groups import alert_groups
from headrace.service.service import LocalService
from schemas.settings.file import FlowSettings, Settings
from tests.alerts.prometheus import Prometheus, PrometheusMissingError
from tests.chaos.checks.checker import Checker
from tests.chaos.checks.promises import Position
from tests.chaos.stage.ports import reserve_port
from tests.chaos.stage.serve_stage import MODEL, ROUTE, ServeStage
from tests.chaos.stage.stage import Delivery, Plan
from tests.soak.course import Kind

SLOTS, HOLD_MS = 16, 50
CONSUMERS, MODELS = 2, 2
LOAD_SHARE = 0.8
_SATURATING_PER_S = 5_000.0
_MOST_UNFINISHED = 1_500
_SETTLE_S = 10.0
_CAPACITY_S = 20.0
_REPLACED_PATIENCE_S = 120.0
_MAX_RECORDS = (16_384, 12_288)


class TimedChecker(Checker):
    """Also keeps how long records took, until they are taken."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._latencies_s: list[float] = []

    def result(self, position: Position, at_s: float, *, is_given_up: bool = False) -> None:
        super().result(position, at_s, is_given_up=is_given_up)
        accepted_s = self._accepted_s.get(position)
        if accepted_s is not None:
            self._latencies_s.append(at_s - accepted_s)

    def take_latencies(self) -> tuple[int, tuple[float, float, float] | None]:
        """Return of the results since the last call how many, and their percentiles in seconds."""
        taken, self._latencies_s = self._latencies_s, []
        if not taken:
            return 0, None
        half, most, nearly_all = np.percentile(taken, [50, 95, 99])
        return len(taken), (float(half), float(most), float(nearly_all))


class SoakStage(ServeStage):
    """A Serve stage whose load, consumers and settings change as a service's do in its life.

    Args:
        delivery: The route's.
        folder: For data and logs.
        is_planted: Whether the model leaks.
    """

    checker_class = TimedChecker

    def __init__(self, delivery: Delivery, folder: Path, *, is_planted: bool = False) -> None:
        plan = Plan(
            delivery=delivery,
            members=CONSUMERS,
            models=MODELS,
            rate_per_s=_SATURATING_PER_S,
            most_unfinished=_MOST_UNFINISHED,
            slack_s=1.0,
        )
        super().__init__(plan, folder)
        self.metrics_port = reserve_port()
        self.settings = _settings(self._service.settings, is_planted=is_planted)
        self._service = LocalService(
            self.settings, data_dir=folder, use_ray="local", metrics_port=self.metrics_port
        )
        self._prometheus: Prometheus | None = None
        self.fired: set[str] = set()
        self._turns = 0

    async def start(self) -> None:
        """Start everything, and Prometheus with the alerts if it is installed."""
        await super().start()
        groups = alert_groups(self.settings)
        target = f"127.0.0.1:{self.metrics_port}"
        prometheus = Prometheus(self.folder / "prometheus", target, groups, interval="10s")
        with contextlib.suppress(PrometheusMissingError):
            await prometheus.start()
            self._prometheus = prometheus

    async def stop(self) -> None:
        if self._prometheus is not None:
            self._prometheus.stop()
        await super().stop()

    @property
    def has_prometheus(self) -> bool:
        return self._prometheus is not None

    @property
    def timed(self) -> TimedChecker:
        if not isinstance(self.checker, TimedChecker):
            raise TypeError("the stage's checker keeps no times")
        return self.checker

    async def measure_capacity(self) -> float:
        """Return how many records a second end while more wait than can be done."""
        await asyncio.sleep(_SETTLE_S)
        began_s, finished = self.clock.monotonic(), self.checker.finished_records
        await asyncio.sleep(_CAPACITY_S)
        self.observer.check()
        took_s = self.clock.monotonic() - began_s
        return (self.checker.finished_records - finished) / took_s

    async def note_alerts(self) -> None:
        """Keep the names of alerts that fire now."""
        if self._prometheus is not None:
            self.fired |= {
                each["labels"]["alertname"]
                for each in await self._prometheus.alerts()
                if each["state"] == "firing"
            }

    async def do(self, kind: Kind) -> None:
        """Let an event happen; return when all replicas run again."""
        match kind:
            case Kind.LIVE_SETTINGS:
                self._turns += 1
                flow = FlowSettings(max_records=_MAX_RECORDS[self._turns % 2])
                await self._change(flow=flow)
            case Kind.ROLLING_RESTART:
                self._turns += 1
                await self._change(drain_timeout_s=30.0 + self._turns % 2)
            case Kind.JOIN:
                await self._scale(CONSUMERS + 1)
            case Kind.LEAVE:
                await self._scale(CONSUMERS)
            case Kind.BROKER_RESTART:
                await self._restart_broker()
        await self.until(self.is_balanced, _REPLACED_PATIENCE_S, f"all replicas run: {kind}")

    async def _scale(self, consumers: int) -> None:
        self.plan = replace(self.plan, members=consumers)
        await self._change(consumers=consumers)

    async def _change(self, **changes: object) -> None:
        route = self.settings.routes[ROUTE].model_copy(update=changes)
        self.settings = self.settings.model_copy(update={"routes": {ROUTE: route}})
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._service.apply, self.settings)

    async def _restart_broker(self) -> None:
        node = self.cluster.nodes[0]
        await node.stop()
        await self.cluster.restart(node)


CLEAN: Mapping[Kind, Literal[True]] = {
    Kind.LIVE_SETTINGS: True,
    Kind.ROLLING_RESTART: True,
    Kind.JOIN: True,
    Kind.LEAVE: True,
}
"""Events that may repeat nothing."""


def _settings(settings: Settings, *, is_planted: bool) -> Settings:
    name = "tests.soak.model:LeakingModel" if is_planted else "tests.nodes.model:SteadyModel"
    changes = {"import_path": name, "options": {"slots": SLOTS, "hold_ms": HOLD_MS}}
    models = {MODEL: settings.models[MODEL].model_copy(update=changes)}
    return settings.model_copy(update={"models": models})
