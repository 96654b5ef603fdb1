"""The policy as Ray Serve's controller calls it."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import orjson
from ray.util.metrics import Gauge

from consumer.autoscaling.counted_work import CountedWork
from consumer.autoscaling.decision import Clamp, Decision
from consumer.autoscaling.kv import report_decision, reported_measures
from consumer.autoscaling.lag import Backlog
from consumer.autoscaling.lag_reader import LagReader, Reading
from consumer.autoscaling.measures import RouteMeasures, parallel_records
from consumer.autoscaling.pauses import stored_pause
from consumer.autoscaling.policy import DrainPolicy, Signals
from consumer.autoscaling.task import ScalingTask
from consumer.engine.calls.rate_limit import RateLimits
from handoff.clock import Clock, SystemClock
from schemas.metrics import AUTOSCALING

# Serve's controller shows its own loggers only.
log = logging.getLogger("ray.serve")


class ServeScalingPolicy:
    """Scales one deployment; a failure holds the target, and no call waits."""

    def __init__(
        self,
        deployment: str,
        task: ScalingTask,
        *,
        clock: Clock | None = None,
        make_reader: Callable[["ServeScalingPolicy"], LagReader] | None = None,
    ) -> None:
        self._deployment = deployment
        self._task = task
        self._clock = clock or SystemClock()
        self._make_reader = make_reader
        self._reader: LagReader | None = None
        self._gauges: _Gauges | None = None
        self._number = 0
        settings = task.settings
        limits = [
            RateLimits(
                max_records_per_s=each.max_records_per_s, max_tokens_per_s=each.max_tokens_per_s
            )
            for each in task.sources
        ]
        self._work = CountedWork(limits, settings.drain_target_s)
        self._policy = DrainPolicy(
            min_replicas=settings.min_replicas,
            max_replicas=settings.max_replicas,
            drain_target_s=settings.drain_target_s,
            downscale_delay_s=settings.downscale_delay_s,
            expected_records_per_s=settings.expected_records_per_s,
            expected_cold_start_s=settings.expected_cold_start_s,
        )

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        target = int(context.target_num_replicas)
        try:
            return self._decide(context, target), {}
        except Exception:  # a fault of ours must not end Serve's control loop
            log.exception(
                "autoscaling %s: %d replicas are held",
                self._deployment,
                target,
                extra={
                    "event": "scaling_held",
                    "deployment": self._deployment,
                    "target_replicas": target,
                },
            )
            return target, {}

    def _decide(self, context: Any, target: int) -> int:
        if self._reader is None:
            self._reader = self._start_reader()
        # From zero Serve starts a replica by itself, and calls again when it runs.
        self._policy.look(self._clock.monotonic(), target, int(context.current_num_replicas))
        reading = self._reader.latest()
        if reading.number == self._number:
            return target
        self._number = reading.number
        decision = self._policy.decide(self._signals(context, reading), target)
        self._publish(decision)
        return decision.target

    def _signals(self, context: Any, reading: Reading) -> Signals:
        backlogs = reading.backlogs
        measures = reading.measures or (RouteMeasures(),) * len(backlogs)
        work = self._work.of(backlogs, measures)
        paused = [
            f"route {source.route} is paused"
            for source, measured in zip(self._task.sources, measures, strict=False)
            if measured.is_paused
        ]
        return Signals(
            now_s=self._clock.monotonic(),
            running=int(context.current_num_replicas),
            remaining_records=work.remaining_records,
            remaining_tokens=reading.remaining_tokens,
            arrived_records=work.arrived_records,
            done_records=work.done_records,
            is_fresh=reading.is_complete,
            partitions=self._partitions(backlogs),
            parallel_records=self._parallel_records(reading),
            most_records_per_s=work.most_records_per_s,
            is_limited=work.is_limited,
            ongoing_calls=float(context.total_num_requests),
            notes=(*paused, *(note for each in backlogs for note in each.notes)),
        )

    def _partitions(self, backlogs: Sequence[Backlog]) -> int | None:
        return sum(each.partitions for each in backlogs) if self._task.is_consumer else None

    def _parallel_records(self, reading: Reading) -> int | None:
        if not reading.backlogs:
            return None
        orderings = [source.ordering for source in self._task.sources]
        measures = reading.measures or (RouteMeasures(),) * len(orderings)
        return parallel_records(list(zip(orderings, reading.backlogs, measures, strict=False)))

    def _start_reader(self) -> LagReader:
        if self._make_reader is not None:
            return self._make_reader(self)
        return LagReader(
            self,
            self._task.kafka,
            self._task.sources,
            interval_s=self._task.settings.period_s,
            timeout_s=self._task.settings.lag_timeout_s,
            report=partial(report_decision, self._deployment),
            ask_measures=_measures_of,
        )

    def _publish(self, decision: Decision) -> None:
        level = logging.INFO if decision.is_change else logging.DEBUG
        log.log(
            level,
            "autoscaling %s: %s",
            self._deployment,
            decision,
            extra={
                "event": "scaling_decision",
                "deployment": self._deployment,
                "target_replicas": decision.target,
                "previous_replicas": decision.previous,
                "running_replicas": decision.running,
                "remaining_records": decision.remaining_records,
                "clamp": decision.clamp.value,
            },
        )
        if self._gauges is None:
            self._gauges = _Gauges(self._deployment)
        self._gauges.set(decision)
        if self._reader is not None:
            self._reader.report(orjson.dumps({**decision.to_dict(), "text": str(decision)}))


def _measures_of(route: str) -> RouteMeasures:
    return replace(reported_measures(route), is_paused=stored_pause(route) is not None)


class _Gauges:
    def __init__(self, deployment: str) -> None:
        self._gauges = {}
        for each in AUTOSCALING:
            gauge = Gauge(each.registered, each.help, each.labels)
            gauge.set_default_tags({"deployment": deployment})
            self._gauges[each.name.removeprefix("autoscaling_")] = gauge
        self._clamp = self._gauges.pop("clamped")

    def set(self, decision: Decision) -> None:
        for name, gauge in self._gauges.items():
            if name == "held":
                gauge.set(float(decision.clamp is Clamp.HELD))
            elif name == "remaining_s":
                # 0 would say that nothing is left.
                gauge.set(-1.0 if decision.remaining_s is None else decision.remaining_s)
            else:
                gauge.set(float(getattr(decision, name) or 0.0))
        for clamp in Clamp:
            self._clamp.set(float(decision.clamp is clamp), {"clamp": clamp.value})
