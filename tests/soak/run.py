"""A soak: measures the capacity, runs below it through a service's ordinary life, and judges."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.chaos.checks.promises import Verdict
from tests.chaos.run import come_to_rest
from tests.chaos.stage.stage import Delivery
from tests.soak.course import JUDGED_FROM, Event, course
from tests.soak.sampler import sample_metrics, sample_processes
from tests.soak.samples import MEMORY_LIMIT_RATIO, Judged, Sample, judge
from tests.soak.stage import CLEAN, LOAD_SHARE, SoakStage

_SAMPLE_EVERY_S = 5.0
_SETTLE_PATIENCE_S = 90.0
_FIRST_OUTCOMES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a soak ended.

    Attributes:
        fired: Names of alerts that fired; ``None`` without Prometheus.
    """

    delivery: Delivery
    duration_s: float
    capacity_per_s: float
    rate_per_s: float
    load_share: float
    events: Sequence[Event]
    samples: Sequence[Sample]
    judged_from_s: float
    judged: Sequence[Judged]
    verdict: Verdict
    fired: frozenset[str] | None

    @property
    def grown(self) -> list[Judged]:
        return [each for each in self.judged if not each.is_good]

    @property
    def is_good(self) -> bool:
        return not self.grown and not self.verdict.violations and not self.fired

    @property
    def headline(self) -> str:
        """What the soak found, in a sentence or two."""
        records = (
            f"{self.verdict.accepted} records, each with exactly one outcome"
            if not self.verdict.violations
            else f"{self.verdict.accepted} records, broken promises: "
            f"{dict(self.verdict.violations)}"
        )
        if not self.grown:
            return f"Nothing grew. {records}."
        worst = max(self.grown, key=lambda each: abs(each.trend.ratio_per_hour))
        missed = abs(worst.trend.ratio_per_hour) - MEMORY_LIMIT_RATIO
        return (
            f"{len(self.grown)} of {len(self.judged)} were not flat; most of all {worst.what}, "
            f"which missed by {missed:.1%} an hour ({worst.finding}). {records}."
        )


async def soak(
    delivery: Delivery,
    duration_s: float,
    folder: Path,
    say: Callable[[str], None],
    *,
    is_planted: bool = False,
) -> Outcome:
    """Run a soak, and return its outcome.

    Args:
        delivery: The route's.
        duration_s: From the beginning of the steady load to its end.
        folder: For data and logs.
        say: Takes a line on each step.
        is_planted: Whether the model leaks.
    """
    stage = SoakStage(delivery, folder, is_planted=is_planted)
    samples: list[Sample] = []
    sampling: asyncio.Task[None] | None = None
    try:
        await stage.during("start", stage.start, is_clean=True)
        await stage.until(
            lambda: stage.checker.finished_records > _FIRST_OUTCOMES, 90, "the first outcomes"
        )
        capacity_per_s = await stage.measure_capacity()
        stage.load.rate_per_s = LOAD_SHARE * capacity_per_s
        say(f"capacity {capacity_per_s:.0f} records/s; the load is {LOAD_SHARE:.0%} of it")
        await asyncio.sleep(_SAMPLE_EVERY_S)
        stage.timed.take_latencies()
        began_s = stage.clock.monotonic()
        sampling = asyncio.create_task(_sample(stage, began_s, samples))
        events = await _live(stage, course(duration_s), began_s, say)
        await asyncio.sleep(max(0.0, began_s + duration_s - stage.clock.monotonic()))
        await _end(sampling)
        lasted_s = stage.clock.monotonic() - began_s
        await come_to_rest(stage, _SETTLE_PATIENCE_S)
        judged_from_s = JUDGED_FROM * duration_s
        return Outcome(
            delivery=delivery,
            duration_s=lasted_s,
            capacity_per_s=capacity_per_s,
            rate_per_s=sum(each.finished for each in samples) / lasted_s,
            load_share=LOAD_SHARE,
            events=events,
            samples=samples,
            judged_from_s=judged_from_s,
            judged=judge(samples, judged_from_s),
            verdict=stage.checker.verdict(),
            fired=frozenset(stage.fired) if stage.has_prometheus else None,
        )
    finally:
        if sampling is not None:
            sampling.cancel()
        await stage.stop()


async def _live(
    stage: SoakStage, planned: Sequence[Event], began_s: float, say: Callable[[str], None]
) -> list[Event]:
    """Let the events happen at their times, or late; return when each did."""
    done = []
    for event in planned:
        now_s = stage.clock.monotonic() - began_s
        await asyncio.sleep(max(0.0, event.at_s - now_s))
        at_s = stage.clock.monotonic() - began_s
        say(f"  {at_s / 60:5.1f} min: {event.kind.value}")
        kind = event.kind
        await stage.during(kind.value, partial(stage.do, kind), is_clean=kind in CLEAN)
        stage.observer.check()
        done.append(Event(at_s, kind))
    return done


async def _sample(stage: SoakStage, began_s: float, samples: list[Sample]) -> None:
    while True:
        finished, latencies_s = stage.timed.take_latencies()
        samples.append(
            Sample(
                at_s=stage.clock.monotonic() - began_s,
                processes=await asyncio.to_thread(sample_processes),
                readings=await asyncio.to_thread(sample_metrics, stage.metrics_port),
                latencies_s=latencies_s,
                finished=finished,
            )
        )
        await stage.note_alerts()
        await asyncio.sleep(_SAMPLE_EVERY_S)


async def _end(sampling: asyncio.Task[None]) -> None:
    if sampling.done():
        sampling.result()
    sampling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sampling
