"""Causes each fault, and times its alerts: from the fault to firing, from healing to silence."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from handoff.clock import SystemClock
from schemas.wire.control import ControlRecord
from tests.alerts.faults import Fault
from tests.alerts.stage import PLAIN, AlertStage

FIRE_PATIENCE_S = 150.0
RESOLVE_PATIENCE_S = 150.0
_LOOK_EVERY_S = 0.5
_SPRINKLE_EVERY_S = 3.0

Subject = tuple[str, str]
"""An alert, and the route or model that it is about."""


@dataclass(frozen=True, slots=True)
class Timed:
    """How an alert went; times in seconds, ``None`` where it did not come in time."""

    alert: str
    subject: str
    fault: str
    fired_after_s: float | None
    resolved_after_s: float | None

    @property
    def is_good(self) -> bool:
        return self.fired_after_s is not None and self.resolved_after_s is not None


async def ordinary_work(stage: AlertStage, duration_s: float) -> list[Subject]:
    """Let ordinary work go on for a while; return what fired all the same.

    Some records are refused and some are cancelled, as they are in ordinary work.
    """
    clock = SystemClock()
    load, route = stage.loads[PLAIN], stage.settings.routes[PLAIN]
    ends_at_s = clock.monotonic() + duration_s
    fired: set[Subject] = set()
    sprinkled_at_s = 0.0
    while clock.monotonic() < ends_at_s:
        if clock.monotonic() - sprinkled_at_s > _SPRINKLE_EVERY_S:
            sprinkled_at_s = clock.monotonic()
            await load.publish([load.line(refuse=True), load.line(ms=60_000)])
            everything = ControlRecord(action="cancel", route=PLAIN, whole_route=True)
            await load.publish([everything.to_json()], topic=route.control_topic)
        fired |= await firing(stage)
        await asyncio.sleep(_LOOK_EVERY_S)
    return sorted(fired)


async def rehearse(
    stage: AlertStage, fault: Fault, say: Callable[[str], None]
) -> tuple[list[Timed], list[Subject]]:
    """Cause a fault and heal it; return its alerts' times, and what else fired meanwhile."""
    clock = SystemClock()
    seen: set[Subject] = set()
    wanted = set(fault.alerts)
    began_s = clock.monotonic()
    fired: dict[Subject, float] = {}

    async def have_all_fired() -> bool:
        now = await firing(stage)
        seen.update(now)
        for each in now & wanted:
            fired.setdefault(each, clock.monotonic() - began_s)
        return fired.keys() >= wanted

    async with fault.of(stage):
        await stage.until(have_all_fired, FIRE_PATIENCE_S)
    for each, after_s in fired.items():
        say(f"  {each[0]} fired after {after_s:.1f} s")
    healed_s = clock.monotonic()
    resolved: dict[Subject, float] = {}

    async def is_silent() -> bool:
        now = await firing(stage)
        seen.update(now)
        for each in fired.keys() - now:
            resolved.setdefault(each, clock.monotonic() - healed_s)
        for each in now:
            resolved.pop(each, None)
        # What else fired must be over too, or the next fault would be judged by it.
        return not now

    await stage.until(is_silent, RESOLVE_PATIENCE_S)
    times = [
        Timed(alert, subject, fault.name, fired.get(each), resolved.get(each))
        for each in fault.alerts
        for alert, subject in [each]
    ]
    return times, sorted(seen - wanted)


async def firing(stage: AlertStage) -> set[Subject]:
    return {
        (labels["alertname"], labels.get("route") or labels.get("model") or "")
        for each in await stage.prometheus.alerts()
        if each["state"] == "firing"
        for labels in [each["labels"]]
    }


def missing(times: Sequence[Timed], rules: Sequence[str], excused: Sequence[str]) -> list[str]:
    """Return the alerts that no fault made fire. Pure."""
    return sorted(set(rules) - {each.alert for each in times} - set(excused))
