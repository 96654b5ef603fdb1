"""The Serve deployment that consumer replicas report to, and that `headrace status` asks.

It is the application's ingress, so that anyone who finds the application finds it.
"""

from typing import Any

from ray import serve

from consumer.clock import SystemClock
from consumer.core.ports import Clock
from headrace.status_report import StatusReport
from schemas.status import ReplicaSnapshot

APP_NAME = "headrace"
DEPLOYMENT_NAME = "status"
REPORT_INTERVAL_S = 1.0


class StatusBoard:
    """Keeps the latest snapshot of every consumer replica.

    Args:
        consumers: The routes' bound consumer deployments. Unused here: Serve deploys what the
            ingress is bound to.
        clock: Time; the machine's where unset.
    """

    def __init__(self, *consumers: Any, clock: Clock | None = None) -> None:
        del consumers
        self._clock = clock or SystemClock()
        self._report = StatusReport()

    async def report(self, snapshot: dict[str, Any]) -> None:
        """Take in one replica's snapshot, ``ReplicaSnapshot.to_dict()``; about once a second."""
        self._report.add(ReplicaSnapshot.from_dict(snapshot), self._clock.monotonic())

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
