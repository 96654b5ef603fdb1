"""Rates and lags of the last minutes, for the small curves. Pure: time is an argument."""

from collections import deque
from typing import Any

from headrace.console.live.documents import short_number
from headrace.overview.snapshot import Overview, RouteOverview

EVERY_S = 5.0
MOST_POINTS = 121
"""Ten minutes."""

Point = dict[str, Any]


class History:
    """A point every ``EVERY_S`` seconds, the latest ``MOST_POINTS``.

    A point is ``{"at_ms": ..., "routes": {NAME: [RECORDS_PER_S, RECORDS_LEFT]}}``; what is not
    known is ``None``.
    """

    def __init__(self) -> None:
        self._points: deque[Point] = deque(maxlen=MOST_POINTS)
        self._next_s = float("-inf")

    def add(self, overview: Overview, now_s: float) -> Point | None:
        """Take the overview of this moment; return the point, if one was due."""
        if now_s < self._next_s:
            return None
        self._next_s = max(self._next_s + EVERY_S, now_s + EVERY_S / 2)
        point: Point = {
            "at_ms": overview.at_ms,
            "routes": {each.name: _values(each) for each in overview.routes},
        }
        self._points.append(point)
        return point

    def points(self) -> list[Point]:
        return list(self._points)


def _values(route: RouteOverview) -> list[float | int | None]:
    rates = route.latest or route.minute
    return [
        None if rates is None else short_number(rates.completed_records_per_s),
        None if route.lag is None else route.lag.left_records,
    ]
