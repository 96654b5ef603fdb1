"""Reads consumer groups' lag beside Serve's controller, in one thread for each cluster.

The controller asks its policies ten times a second, in the loop that keeps Serve alive, so a broker
that does not answer must not delay it. A daemon thread reads over one client, and the policies take
the latest reading. Policies that read the same group at the same pace share its readings. A thread
holds no reference to policies, and ends with the last of them.
"""

import asyncio
import logging
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from consumer.autoscaling.lag import Backlog, BacklogTracker, tokens_left
from consumer.autoscaling.measures import Ordering, RouteMeasures
from consumer.kafka.admin.group_lags import GroupLags
from handoff.clock import SystemClock
from schemas.settings.file import KafkaSettings

log = logging.getLogger(__name__)

AskMeasures = Callable[[str], RouteMeasures]


@dataclass(frozen=True, slots=True)
class GroupLagSource:
    """One consumer group on one topic; ``route`` is the route whose consumers form the group."""

    group: str
    topic: str
    from_latest: bool
    route: str = ""
    ordering: Ordering = "none"


@dataclass(frozen=True, slots=True)
class Reading:
    """The latest backlogs of a policy's groups, in the order of the sources, with their measures.

    Attributes:
        number: Grows once every group was read again, with failed readings; 0 before that.
        is_complete: Whether every group answered; the numbers of the others are held.
    """

    number: int = 0
    is_complete: bool = False
    backlogs: tuple[Backlog, ...] = ()
    measures: tuple[RouteMeasures, ...] = ()

    @property
    def remaining_tokens(self) -> int | None:
        found = [
            tokens_left(backlog.records, measures.tokens_per_record)
            for backlog, measures in zip(self.backlogs, self.measures, strict=False)
        ]
        known = [each for each in found if each is not None]
        return sum(known) if known else None


class _Pace(NamedTuple):
    source: GroupLagSource
    interval_s: float
    timeout_s: float


class _Latest(NamedTuple):
    number: int
    is_fresh: bool
    backlog: Backlog
    measures: RouteMeasures


class _Group:
    """The readings of one group; ``latest`` is replaced whole, in the cluster's thread."""

    def __init__(self, pace: _Pace, ask_measures: AskMeasures) -> None:
        self.pace = pace
        self.tracker = BacklogTracker(from_latest=pace.source.from_latest)
        self.latest = _Latest(0, is_fresh=False, backlog=Backlog(), measures=RouteMeasures())
        self.readers = 0
        self.reading: asyncio.Task[None] | None = None
        self._ask_measures = ask_measures

    async def read(self, lags: GroupLags, now_s: float) -> None:
        source = self.pace.source
        is_fresh = False
        try:
            found = await lags.read(source.group, source.topic, self.pace.timeout_s)
            self.tracker.observe(found, now_s)
            is_fresh = bool(found)
        except Exception as error:  # noqa: BLE001 - any failure holds the numbers and is reported
            if self.latest.is_fresh or not self.latest.number:
                log.warning(
                    "autoscaling: %s; the last numbers are held until the lag is known again",
                    error,
                    extra={
                        "event": "lag_unknown",
                        "topic": source.topic,
                        "group": source.group,
                        "error_class": type(error).__name__,
                    },
                )
            self.tracker.failed(str(error))
        self.latest = _Latest(
            self.latest.number + 1, is_fresh, self.tracker.current, self._measures()
        )

    def _measures(self) -> RouteMeasures:
        try:
            return self._ask_measures(self.pace.source.route)
        except Exception as error:  # noqa: BLE001 - measures are bounds only
            log.debug("the consumers' measures cannot be read: %r", error)
            return RouteMeasures()


_lock = threading.Lock()
_clusters: list["_Cluster"] = []


class _Cluster:
    def __init__(self, kafka: KafkaSettings) -> None:
        self.kafka = kafka
        self._groups: dict[_Pace, _Group] = {}
        self.loop = asyncio.new_event_loop()
        self._clock = SystemClock()
        self._lags = GroupLags(kafka)
        self._is_unused = asyncio.Event()
        self._readings: set[asyncio.Task[None]] = set()
        threading.Thread(target=self._run, name="headrace-lag", daemon=True).start()

    def join(self, pace: _Pace, ask_measures: AskMeasures) -> _Group:
        """Return the group of this pace, and begin to read it; call it with the lock held."""
        if pace not in self._groups:
            self._groups[pace] = _Group(pace, ask_measures)
            self.loop.call_soon_threadsafe(self._begin, self._groups[pace])
        self._groups[pace].readers += 1
        return self._groups[pace]

    def leave(self, groups: Sequence[_Group]) -> None:
        with _lock:
            for group in groups:
                group.readers -= 1
                if not group.readers:
                    del self._groups[group.pace]
                    if group.reading is not None:
                        group.reading.cancel()
            if not self._groups:
                _clusters.remove(self)
                self._is_unused.set()

    def _run(self) -> None:
        self.loop.run_until_complete(self._serve())
        self.loop.close()

    async def _serve(self) -> None:
        async with self._lags:
            await self._is_unused.wait()
            # Not all tasks of the loop: those of the client end when it is closed.
            await asyncio.gather(*self._readings, return_exceptions=True)

    def _begin(self, group: _Group) -> None:
        group.reading = self.loop.create_task(self._read_on(group))
        self._readings.add(group.reading)
        group.reading.add_done_callback(self._readings.discard)

    async def _read_on(self, group: _Group) -> None:
        now_s = self._clock.monotonic
        while True:
            began_s = now_s()
            await group.read(self._lags, began_s)
            await asyncio.sleep(max(0.0, group.pace.interval_s - (now_s() - began_s)))


class LagReader:
    """Reads groups again and again until its owner is collected.

    Args:
        timeout_s: A reading that takes longer is given up.
        report: Called in the thread with each decision given to ``LagReader.report``; may block.
        ask_measures: Returns, in the thread, what a route's consumers have measured; may block.
    """

    def __init__(
        self,
        owner: object,
        kafka: KafkaSettings,
        sources: Sequence[GroupLagSource],
        *,
        interval_s: float,
        timeout_s: float,
        report: Callable[[bytes], None] = lambda _decision: None,
        ask_measures: AskMeasures = lambda _route: RouteMeasures(),
    ) -> None:
        with _lock:
            cluster = next((each for each in _clusters if each.kafka == kafka), None)
            if cluster is None:
                cluster = _Cluster(kafka)
                _clusters.append(cluster)
            paces = [_Pace(source, interval_s, timeout_s) for source in sources]
            self._groups = [cluster.join(pace, ask_measures) for pace in paces]
        self._cluster = cluster
        self._report = report
        self._interval_s = interval_s
        self._clock = SystemClock()
        # In the thread: the garbage collector may run while this one holds the lock.
        call = cluster.loop.call_soon_threadsafe
        weakref.finalize(owner, call, cluster.leave, self._groups).atexit = False

    def latest(self) -> Reading:
        """Return the latest reading without waiting. Without groups there is one each interval."""
        latest = [group.latest for group in self._groups]
        intervals = int(self._clock.monotonic() / self._interval_s)
        return Reading(
            min((each.number for each in latest), default=1 + intervals),
            all(each.is_fresh for each in latest),
            tuple(each.backlog for each in latest),
            tuple(each.measures for each in latest),
        )

    def report(self, decision: bytes) -> None:
        self._cluster.loop.call_soon_threadsafe(_report, self._report, decision)


def _report(report: Callable[[bytes], None], decision: bytes) -> None:
    try:
        report(decision)
    except Exception as error:  # noqa: BLE001 - the readings go on
        log.debug("a decision cannot be reported: %r", error)
