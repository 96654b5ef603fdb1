"""The Serve deployment that consumer replicas report to, and that `headrace status` asks.

It is the application's ingress, so that anyone who finds the application finds it.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from ray import serve

from consumer.autoscaling.kv import report_measures
from consumer.autoscaling.measures import RouteMeasures
from consumer.replica.reports import ReplicaSnapshot
from handoff.clock import Clock, SystemClock
from headrace.status.report import StatusReport

log = logging.getLogger(__name__)

APP_NAME = "headrace"
DEPLOYMENT_NAME = "status"
TELL_EVERY_S = 5.0


class StatusBoard:
    """Keeps the latest snapshot of every consumer replica.

    Args:
        consumers: The routes' bound consumer deployments. Unused here: Serve deploys what the
            ingress is bound to.
        clock: Time; the machine's where unset.
        report_measures: Takes a route and what its consumers have measured; may block.
    """

    def __init__(
        self,
        *consumers: Any,
        clock: Clock | None = None,
        report_measures: Callable[[str, RouteMeasures], None] = report_measures,
    ) -> None:
        del consumers
        self._report_measures = report_measures
        self._tell_at_s: dict[str, float] = {}
        self._clock = clock or SystemClock()
        self._report = StatusReport()

    async def report(self, snapshot: dict[str, Any]) -> None:
        """Take in one replica's snapshot, ``ReplicaSnapshot.to_dict()``; about once a second."""
        now_s = self._clock.monotonic()
        taken = ReplicaSnapshot.from_dict(snapshot)
        self._report.add(taken, now_s)
        is_measured = taken.measured_records or taken.runnable_records is not None
        if is_measured and now_s >= self._tell_at_s.get(taken.route, now_s):
            self._tell_at_s[taken.route] = now_s + TELL_EVERY_S
            await self._tell(taken.route, now_s)

    async def _tell(self, route: str, now_s: float) -> None:
        """Let the scaling policies know, which can ask no deployment."""
        status = self._report.routes(now_s)[route]
        measures = RouteMeasures(
            tokens_per_record=status.tokens_per_record,
            runnable_records=status.runnable_records,
            held_records=status.in_flight_records + status.queued_records,
            reads_on=status.reads_on,
        )
        try:
            await asyncio.to_thread(self._report_measures, route, measures)
        except Exception as error:  # noqa: BLE001 - only a bound: it must not cost the report
            log.debug("what %s has measured could not be told: %r", route, error)

    async def routes(self) -> dict[str, dict[str, Any]]:
        """Return ``RouteStatus.to_dict()`` of each route that any replica has reported on."""
        statuses = self._report.routes(self._clock.monotonic())
        return {name: status.to_dict() for name, status in statuses.items()}


def status_board_deployment() -> serve.Deployment:
    """Return the board as a Serve deployment: one replica that sets no CPU aside."""
    deployment: serve.Deployment = serve.deployment(
        name=DEPLOYMENT_NAME,
        num_replicas=1,
        max_ongoing_requests=1_000,
        ray_actor_options={"num_cpus": 0},
        logging_config={"enable_access_log": False},
    )(StatusBoard)
    return deployment
