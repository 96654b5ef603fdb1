"""The Serve deployment around the consumer loop: starts, drains and reports it."""

import asyncio
import contextlib
import gc
import logging
import os
import random
from collections.abc import Mapping
from typing import Any

import ray
from ray import serve
from ray.serve.exceptions import DeploymentUnavailableError

from consumer.autoscaling.pauses import stored_pause
from consumer.engine.engine import Engine
from consumer.engine.pausing import Pause
from consumer.kafka.control import KafkaControlSource
from consumer.kafka.group.instance_names import name_instance
from consumer.kafka.source.source import KafkaSource
from consumer.loop.consumer_loop import ConsumerLoop
from consumer.loop.pausable import PausableLoop
from consumer.object_store.object_store import open_store
from consumer.replica.build import build_engine, live_engine_settings, loop_settings
from consumer.replica.engine_report import EngineReport
from consumer.replica.kafka_publishing import kafka_publishing, result_limit_bytes
from consumer.replica.metrics import ConsumerMetrics
from consumer.replica.pausing import pause_in, pause_line
from consumer.replica.reading_notes import open_notes
from consumer.replica.readings import read_engine
from consumer.replica.reports import COUNTER_NAMES, ReplicaSnapshot
from consumer.replica.tracing import OpenTraces, open_traces
from handoff.clock import SystemClock
from handoff.exporting import Key
from handoff.logs import log_change, log_through_serve, look_after_logs
from handoff.model_handle import ModelHandle
from schemas.settings.file import KafkaSettings, RouteSettings
from schemas.settings.live import route_with_live
from schemas.settings.secrets import secret_values

log = logging.getLogger(__name__)

_REPORT_EVERY_S = 1.0
_REPORT_TIMEOUT_S = 5.0
_MOST_FAILED_REPORTS = 30
"""In a row, while the route is paused: who cannot report does not hear of the pause's end."""


def freeze_what_stays() -> None:
    """Have the garbage collector pass over all that is loaded, but for what is garbage now.

    It would otherwise scan it every few thousand records, which took an eighth of this process's
    time. A loop that was frozen and has left for a pause is let go.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


class Consumer:
    """One consumer replica of one route. It starts when Serve hands it the live settings.

    Args:
        route: Its settings, without those that change live.
        urls: The endpoints that its model answers.
        work_field: The body field by which its model ranks requests, if it does.
        model: Handle of the model's deployment, which need not run yet.
        status: Handle of the status board.
        results: The cluster of results, dead letters and replies, if it is another one.
    """

    def __init__(
        self,
        *,
        route_name: str,
        route: RouteSettings,
        kafka: KafkaSettings,
        urls: frozenset[str],
        work_field: str | None,
        model: Any,
        status: Any,
        results: KafkaSettings | None = None,
    ) -> None:
        log_through_serve(
            [
                secret
                for each in (kafka, results)
                if each
                for secret in secret_values(each, os.environ)
            ]
        )
        self._route_name = route_name
        self._route = route
        self._live: Mapping[str, Any] = {}
        self._kafka = kafka
        self._results = results or kafka
        self._urls = urls
        self._work_field = work_field
        self._model = ModelHandle(model, unavailable=DeploymentUnavailableError)
        self._status = status
        self._replica = str(serve.get_replica_context().replica_id.unique_id)
        self._metrics = ConsumerMetrics(route_name)
        self._live_route = route
        self._consumer: PausableLoop | None = None
        self._engine_report = EngineReport()
        self._reporting: asyncio.Task[None] | None = None
        self._failed_reports = 0
        self._failures_told: set[str] = set()
        self._is_drained = False
        self._traces: OpenTraces | None = None

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Start with the live settings, or go on with new ones; Serve calls it for both."""
        self._live_route = route_with_live(self._route, user_config["live"])
        if self._consumer is None:
            await self._start()
        else:
            log_change(log, self._live, user_config["live"], route=self._route_name)
            self._consumer.loop.reconfigure(live_engine_settings(self._live_route))
        self._live = user_config["live"]

    async def _start(self) -> None:
        route, kafka = self._live_route, self._kafka
        self._result_limit_bytes = (
            None if route.claim_check is None else await result_limit_bytes(self._results, route)
        )
        self._notes = open_notes(kafka.bootstrap, route.group, route.requests_topic)
        self._traces = open_traces(route, replica=self._replica, clock=SystemClock())
        consumer = PausableLoop(self._make_loop, freeze_what_stays)
        await consumer.start(await asyncio.to_thread(stored_pause, self._route_name))
        if consumer.is_out:
            freeze_what_stays()
        self._consumer = consumer
        log.info(
            "route %s: %s %s as a member of group %s",
            self._route_name,
            "is paused; it would read" if consumer.is_out else "reads",
            route.requests_topic,
            route.group,
            extra={
                "event": "consumer_started",
                "route": self._route_name,
                "topic": route.requests_topic,
                "group": route.group,
                "delivery": route.delivery,
            },
        )
        self._reporting = asyncio.get_running_loop().create_task(self._report(consumer))

    def _make_loop(self, earlier: Engine | None) -> ConsumerLoop:
        context = serve.get_replica_context()
        route, kafka = self._live_route, self._kafka
        store = open_store(self._route_name, route)
        control = (
            None if route.control_topic is None else KafkaControlSource(kafka, route.control_topic)
        )
        engine = build_engine(
            route_name=self._route_name,
            route=route,
            urls=self._urls,
            work_field=self._work_field,
            consumer=self._replica,
            metadata_limit_characters=kafka.offset_metadata_max_bytes,
            jitter=random.Random(),  # noqa: S311 - spreads retries, guards nothing
            notes=self._notes,
            traces=None if self._traces is None else self._traces.traces,
            result_limit_bytes=self._result_limit_bytes,
            earlier=earlier,
        )
        instance_id = None
        if route.membership.static:
            instance_id = name_instance(
                route.group,
                cluster=ray.get_runtime_context().get_session_name(),
                application=context.app_name,
                rank=context.rank.rank,
            )
        source = KafkaSource(kafka, route, group_instance_id=instance_id)
        return ConsumerLoop(
            engine=engine,
            source=source,
            publishing=kafka_publishing(self._results, route, engine=engine, source=source),
            model=self._model,
            clock=SystemClock(),
            settings=loop_settings(route),
            store=store,
            control=control,
        )

    async def check_health(self) -> None:
        """Raise if the consumer loop has failed; Serve then replaces this replica."""
        look_after_logs()
        if self._consumer is not None:
            self._consumer.check()
            self._check_reporting(self._consumer)

    def _check_reporting(self, consumer: PausableLoop) -> None:
        if self._reporting is not None and self._reporting.done() and not self._is_drained:
            raise RuntimeError("the consumer has ceased to report, so it hears of no pause")
        if consumer.is_out and self._failed_reports >= _MOST_FAILED_REPORTS:
            raise RuntimeError(
                f"the consumer is paused, and its last {self._failed_reports} reports failed in "
                "itself, so it would not hear of the pause's end"
            )

    async def drain(self) -> None:
        """Finish what is in flight, commit and leave the group; then the replica is idle."""
        if not self._is_drained and self._consumer is not None:
            self._is_drained = True
            engine = self._consumer.loop.engine
            log.info(
                "route %s: drains %d records in flight",
                self._route_name,
                engine.in_flight_records,
                extra={
                    "event": "consumer_draining",
                    "route": self._route_name,
                    "in_flight_records": engine.in_flight_records,
                },
            )
            await self._consumer.drain()
            log.info(
                "route %s: the consumer has stopped",
                self._route_name,
                extra={"event": "consumer_stopped", "route": self._route_name},
            )

    async def __del__(self) -> None:
        """Drain; Serve awaits this when it stops the replica."""
        await self.drain()
        if self._reporting is not None:
            self._reporting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reporting
        if self._traces is not None:
            await self._traces.close()

    def _snapshot(self, consumer: PausableLoop, now_s: float, epoch_ms: int) -> ReplicaSnapshot:
        loop, error, pause = consumer.loop, consumer.failure, consumer.pause
        engine = loop.engine
        counters = {name: getattr(engine.counters, name) for name in COUNTER_NAMES}
        return ReplicaSnapshot(
            route=self._route_name,
            replica=self._replica,
            in_flight_records=engine.in_flight_records,
            queued_records=engine.queued_records,
            runnable_records=engine.runnable_records,
            reads_on=engine.reads_on,
            partitions=[] if consumer.is_out else [each.partition for each in engine.partitions],
            model_replicas=engine.calls.windows.replicas,
            waits=[] if error else self._waits(loop, pause, epoch_ms),
            error=None if error is None else repr(error),
            is_out=consumer.is_out,
            is_limited=engine.is_limited(now_s),
            **self._engine_report.of(engine, now_s),
            **counters,
        )

    def _waits(self, loop: ConsumerLoop, pause: Pause | None, epoch_ms: int) -> list[str]:
        if pause is not None:
            return [pause_line(pause, self._route_name, epoch_ms)]
        return [*loop.waits(), *self._model_waits()]

    def _model_waits(self) -> list[str]:
        if not self._model.is_waiting:
            return []
        line = f"model {self._route.model}: no replica takes calls; `headrace status` says why"
        return [line]

    async def _report(self, consumer: PausableLoop) -> None:
        clock = SystemClock()
        while True:
            try:
                # Without the status board a call waits for it, and the metrics must not.
                self._update_metrics(consumer, clock.monotonic(), clock.epoch_ms())
            except Exception as error:  # noqa: BLE001 - metrics must never cost the report
                self._note_failed("metrics", error)
            try:
                snapshot = self._snapshot(consumer, clock.monotonic(), clock.epoch_ms()).to_dict()
            except Exception as error:  # noqa: BLE001 - a lost report must never stop the consumer
                self._failed_reports += 1
                self._note_failed("report", error)
            else:
                self._failed_reports = 0
                await self._send_report(consumer, snapshot)
            await asyncio.sleep(_REPORT_EVERY_S)

    def _update_metrics(self, consumer: PausableLoop, now_s: float, epoch_ms: int) -> None:
        paused_s = 0.0 if consumer.pause is None else consumer.pause.lasts_s(epoch_ms)
        tasks = len(asyncio.all_tasks())
        of_replica: dict[Key, float] = {"paused_seconds": paused_s, "event_loop_tasks": tasks}
        self._metrics.update(read_engine(consumer.loop.engine, now_s, epoch_ms, of_replica))

    async def _send_report(self, consumer: PausableLoop, snapshot: Mapping[str, Any]) -> None:
        try:
            async with asyncio.timeout(_REPORT_TIMEOUT_S):
                answer = await self._status.report.remote(snapshot)
            consumer.follow(pause_in(answer, consumer.pause))
        except Exception as error:  # noqa: BLE001 - a lost report must never stop the consumer
            log.debug("the status board did not take a report: %r", error)

    def _note_failed(self, what: str, error: Exception) -> None:
        # Once for each: it would come again every second.
        level = logging.DEBUG if what in self._failures_told else logging.WARNING
        self._failures_told.add(what)
        log.log(
            level,
            "route %s: the consumer's own %s failed: %r",
            self._route_name,
            what,
            error,
            exc_info=error,
            extra={
                "event": "report_failed",
                "route": self._route_name,
                "error_class": type(error).__name__,
            },
        )
