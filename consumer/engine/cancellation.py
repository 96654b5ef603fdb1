"""Which requests are cancelled: a table of the control records that still count."""

from consumer.ports import Record
from schemas.wire.control import ControlRecord
from schemas.wire.headers import JOB, last_value

MAX_TARGETS = 100_000
"""The most custom_ids and jobs remembered, some 20 MB; beyond, the oldest are forgotten."""
HORIZON_MS = 7 * 24 * 3_600_000
"""Kafka's own default of ``retention.ms``: requests from before it are gone, as a rule."""

_CUSTOM_ID, _JOB = "custom_id", "job"


class Cancellations:
    """One route's cancellations, each up to the time of its control record.

    A request is cancelled by a control record that names it and is not older than it, by the
    timestamps of both: what is published later under the same name runs.

    Args:
        route: Control records of other routes on the same topic do not count.
        horizon_ms: A control record older than this is forgotten, as no request from before it is
            still to come.
        max_targets: The most custom_ids and jobs remembered.
    """

    def __init__(
        self, route: str, horizon_ms: int = HORIZON_MS, max_targets: int = MAX_TARGETS
    ) -> None:
        self._route = route
        self._max_targets = max_targets
        self._horizon_ms = horizon_ms
        # In the order of the control topic, so that the first is the oldest.
        self._targets: dict[tuple[str, str | bytes], int] = {}
        self._route_until_ms: int | None = None
        self.forgotten_targets = 0

    def __len__(self) -> int:
        return len(self._targets) + (self._route_until_ms is not None)

    def add(self, control: ControlRecord, timestamp_ms: int) -> bool:
        """Remember a control record, whose timestamp is in epoch milliseconds.

        Returns:
            Whether it is of this route.
        """
        if control.route != self._route:
            return False
        if control.custom_id is not None:
            self._remember((_CUSTOM_ID, control.custom_id), timestamp_ms)
        elif control.job is not None:
            self._remember((_JOB, control.job.encode()), timestamp_ms)
        else:
            self._route_until_ms = max(timestamp_ms, self._route_until_ms or 0)
        return True

    def covers(self, record: Record, custom_id: str | None) -> bool:
        """Return whether a request is cancelled; one without a timestamp never is."""
        if not self._targets and self._route_until_ms is None:
            return False
        timestamp_ms = record.timestamp_ms
        if timestamp_ms is None or timestamp_ms < 0:
            return False
        if self._route_until_ms is not None and timestamp_ms <= self._route_until_ms:
            return True
        if timestamp_ms <= self._targets.get((_CUSTOM_ID, custom_id or ""), -1):
            return True
        job = last_value(record.headers, JOB)
        return job is not None and timestamp_ms <= self._targets.get((_JOB, job), -1)

    def expire(self, epoch_ms: int) -> None:
        """Forget what is older than the horizon."""
        oldest_ms = epoch_ms - self._horizon_ms
        self._targets = {target: at for target, at in self._targets.items() if at >= oldest_ms}
        if self._route_until_ms is not None and self._route_until_ms < oldest_ms:
            self._route_until_ms = None

    def _remember(self, target: tuple[str, str | bytes], timestamp_ms: int) -> None:
        earlier_ms = self._targets.pop(target, -1)
        self._targets[target] = max(timestamp_ms, earlier_ms)
        if len(self._targets) > self._max_targets:
            del self._targets[next(iter(self._targets))]
            self.forgotten_targets += 1
