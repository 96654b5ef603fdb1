"""The Serve deployment to which consumer replicas report, and which commands and the console ask.

It also assigns the scaling policies their tasks: it always runs, and its settings change without a
restart of any replica.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from consumer.autoscaling.kv import assign_tasks, report_measures
from consumer.autoscaling.measures import RouteMeasures
from consumer.autoscaling.pauses import stored_pauses
from consumer.autoscaling.task import ScalingTask
from consumer.engine.pausing import Pause
from consumer.kafka.admin.group_lags import GroupLags
from consumer.kafka.control import KafkaControlSource
from consumer.ports import ControlSource
from consumer.replica.pausing import pause_line
from consumer.replica.reports import ReplicaSnapshot, RouteStatus
from handoff.clock import Clock, SystemClock
from handoff.logs import log_through_serve, look_after_logs
from headrace.overview.facts import ConsumerFacts
from headrace.overview.gathering import Gathering
from headrace.overview.jobs_follower import JobsFollower
from headrace.overview.known import KnownService
from headrace.overview.serve_facts import read_serve
from headrace.status.pauses import PauseBook
from headrace.status.report import StatusReport
from headrace_client.registry.announcements import JOBS_TOPIC
from schemas.settings.file import KafkaSettings
from schemas.settings.secrets import secret_values

log = logging.getLogger(__name__)

MEASURES_EVERY_S = 5.0


class StatusBoard:
    """Keeps the latest snapshot of every consumer replica.

    ``report_measures`` takes a route and what its consumers have measured, ``assign_tasks`` the
    task of each deployment that scales by the lag of ``kafka``, ``read_pauses`` returns the pauses
    of all routes; they may block.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        *,
        clock: Clock | None = None,
        report_measures: Callable[[str, RouteMeasures], None] = report_measures,
        assign_tasks: Callable[[Mapping[str, ScalingTask]], None] = assign_tasks,
        read_pauses: Callable[[], Mapping[str, Pause]] = stored_pauses,
    ) -> None:
        log_through_serve(secret_values(kafka, os.environ))
        self._kafka = kafka
        self._report_measures = report_measures
        self._assign_tasks = assign_tasks
        self._measures_at_s: dict[str, float] = {}
        self._clock = clock or SystemClock()
        self._report = StatusReport()
        self._pauses = PauseBook(read_pauses)
        self._begun_s = self._clock.monotonic()
        self._gathering = Gathering(
            KnownService(),
            clock=self._clock,
            lags=GroupLags(kafka),
            ask_serve=read_serve,
            ask_jobs=JobsFollower(self._open_jobs_topic, self._clock).jobs,
            ask_consumers=self._consumers,
            ask_paused=self._paused,
        )

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Assign the scaling policies their tasks; Serve calls it at the start and on a change."""
        tasks = {
            deployment: replace(ScalingTask.from_dict({**task, "kafka": {}}), kafka=self._kafka)
            for deployment, task in user_config["live"]["scaling"].items()
        }
        self._gathering.jobs_topic = user_config["live"].get("jobs", {}).get("topic", JOBS_TOPIC)
        await asyncio.to_thread(self._assign_tasks, tasks)

    async def report(self, snapshot: dict[str, Any]) -> dict[str, Any]:
        """Keep one replica's snapshot, ``ReplicaSnapshot.to_dict()``; about once a second.

        Returns the route's ``Pause`` as ``pause``, ``None`` if it has none; the key is missing
        while the pauses cannot be read.
        """
        now_s = self._clock.monotonic()
        look_after_logs()
        taken = ReplicaSnapshot.from_dict(snapshot)
        self._report.add(taken, now_s)
        is_measured = (
            taken.measured_records
            or taken.runnable_records is not None
            or taken.is_limited is not None
        )
        if is_measured and now_s >= self._measures_at_s.get(taken.route, now_s):
            self._measures_at_s[taken.route] = now_s + MEASURES_EVERY_S
            await self._publish_measures(taken.route, now_s)
        pauses = await self._pauses.latest(now_s)
        if pauses is None:
            return {}
        pause = pauses.get(taken.route)
        return {"pause": None if pause is None else asdict(pause)}

    async def _publish_measures(self, route: str, now_s: float) -> None:
        """Report to the scaling policies, which cannot ask a deployment."""
        status = self._report.routes(now_s)[route]
        measures = RouteMeasures(
            tokens_per_record=status.tokens_per_record,
            runnable_records=status.runnable_records,
            held_records=status.in_flight_records + status.queued_records,
            reads_on=status.reads_on,
            is_limited=bool(status.is_limited),
        )
        try:
            await asyncio.to_thread(self._report_measures, route, measures)
        except Exception as error:  # noqa: BLE001 - only a bound: it must not cost the report
            log.debug("the measures of %s were not reported: %r", route, error)

    async def routes(self) -> dict[str, dict[str, Any]]:
        """Return ``RouteStatus.to_dict()`` of each route that is paused or was reported on."""
        now_s = self._clock.monotonic()
        statuses = self._report.routes(now_s)
        for name, pause in (await self._pauses.latest(now_s) or {}).items():
            statuses[name] = replace(
                statuses.get(name) or RouteStatus(route=name),
                paused_since_ms=pause.since_ms,
                pause_reason=pause.reason,
            )
        return {name: status.to_dict() for name, status in statuses.items()}

    async def overview(self) -> dict[str, Any]:
        """Return ``Overview.to_dict()``, at most a second old."""
        return (await self._gathering.overview()).to_dict()

    async def partitions(self, route: str) -> list[dict[str, Any]]:
        """Return the fields of ``PartitionOverview`` of one route; raises ``SourceError``."""
        return [asdict(each) for each in await self._gathering.partitions(route)]

    async def _paused(self) -> dict[str, str]:
        pauses = await self._pauses.latest(self._clock.monotonic()) or {}
        epoch_ms = self._clock.epoch_ms()
        return {name: pause_line(pause, name, epoch_ms) for name, pause in pauses.items()}

    def _consumers(self) -> ConsumerFacts:
        now_s = self._clock.monotonic()
        totals = self._report.routes(now_s)
        return ConsumerFacts(
            now_s=now_s,
            up_s=now_s - self._begun_s,
            live=self._report.live(now_s),
            totals=totals,
            histories=self._report.histories,
        )

    def _open_jobs_topic(self) -> ControlSource:
        return KafkaControlSource(self._kafka, self._gathering.jobs_topic or JOBS_TOPIC)
