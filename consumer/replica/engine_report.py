"""What a consumer's engine says of itself in a report, beyond its counters."""

from typing import Any

from consumer.engine.engine import Engine
from consumer.replica.reports import REPORTED_TIMES


class EngineReport:
    """Reads an engine about once a second, and remembers since when its admission is closed."""

    def __init__(self) -> None:
        self._closed_since_s: float | None = None

    def of(self, engine: Engine, now_s: float) -> dict[str, Any]:
        """Return fields of ``ReplicaSnapshot``."""
        admission = engine.admission
        if engine.reads_on:
            self._closed_since_s = None
        elif self._closed_since_s is None:
            self._closed_since_s = now_s
        since_s = self._closed_since_s
        return {
            "held_records": admission.held_records,
            "held_bytes": admission.held_bytes,
            "most_records": admission.max_records,
            "most_bytes": admission.max_bytes,
            "oldest_s": engine.backlog.oldest_s(now_s),
            "admission_closed_s": None if since_s is None else now_s - since_s,
            "is_breaker_open": engine.calls.is_breaker_open,
            "is_suspended": engine.is_suspended,
            "window_records": engine.calls.windows.granted_records,
            "times": {name: list(getattr(engine.timings, name).counts) for name in REPORTED_TIMES},
            "dead_letters_by_reason": dict(engine.counters.dead_letters_by_reason),
        }
