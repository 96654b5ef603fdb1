"""Reads consumer groups' lag beside Serve's controller: in a thread, so that nothing waits for it.

The controller asks its policies ten times a second in the loop that keeps the cluster alive; a
broker that does not answer must cost it nothing. A daemon thread with a loop of its own reads, and
the policy takes what is there. The thread holds no reference to the policy, so it ends with it.
"""

import asyncio
import logging
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from consumer.autoscaling.lag import Backlog, BacklogTracker, tokens_left
from consumer.autoscaling.measures import Ordering, RouteMeasures
from consumer.kafka.admin.admin import TopicAdmin
from handoff.clock import Clock, SystemClock
from schemas.settings.file import KafkaSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GroupLagSource:
    """One consumer group on one topic.

    Attributes:
        group: The consumer group.
        topic: The requests topic.
        from_latest: Whether a group without a commit starts at the end of the log.
        route: The route whose consumers the group is.
        ordering: The route's.
    """

    group: str
    topic: str
    from_latest: bool
    route: str = ""
    ordering: Ordering = "none"


@dataclass(frozen=True, slots=True)
class Reading:
    """All groups' backlogs, read one after the other.

    Attributes:
        number: Counts readings, failed ones included; 0 before the first.
        is_complete: Whether every group was read; where not, numbers are held.
        backlogs: In the order of the sources.
        measures: The same; of each what its consumers have measured.
    """

    number: int = 0
    is_complete: bool = False
    backlogs: tuple[Backlog, ...] = ()
    measures: tuple[RouteMeasures, ...] = ()

    @property
    def remaining_tokens(self) -> int | None:
        """What the backlogs come to in tokens; ``None`` where no mean is known."""
        found = [
            tokens_left(backlog.records, measures.tokens_per_record)
            for backlog, measures in zip(self.backlogs, self.measures, strict=False)
        ]
        known = [each for each in found if each is not None]
        return sum(known) if known else None


@dataclass(slots=True)
class _Exchange:
    """What the thread and the policy share; each field is replaced whole, never changed."""

    stop: threading.Event = field(default_factory=threading.Event)
    reading: Reading = field(default_factory=Reading)
    told: bytes | None = None


class LagReader:
    """Reads on and on, for as long as its owner lives.

    Args:
        owner: Ends the thread when it is collected.
        kafka: The cluster.
        sources: What to read.
        interval_s: Between two readings.
        timeout_s: After which a reading is given up.
        tell: Takes, in the thread, what ``tell`` of this object was given last; may block.
        ask_measures: Returns, in the thread, what a route's consumers have measured; may block.
        clock: Time; the machine's where unset.
    """

    def __init__(
        self,
        owner: object,
        kafka: KafkaSettings,
        sources: Sequence[GroupLagSource],
        *,
        interval_s: float,
        timeout_s: float,
        tell: Callable[[bytes], None] = lambda _told: None,
        ask_measures: Callable[[str], RouteMeasures] = lambda _route: RouteMeasures(),
        clock: Clock | None = None,
    ) -> None:
        self._exchange = _Exchange()
        weakref.finalize(owner, self._exchange.stop.set)
        threading.Thread(
            target=_read_on,
            args=(
                self._exchange,
                kafka,
                tuple(sources),
                interval_s,
                timeout_s,
                tell,
                ask_measures,
                clock or SystemClock(),
            ),
            name="headrace-lag",
            daemon=True,
        ).start()

    def latest(self) -> Reading:
        """Return the last reading; never waits."""
        return self._exchange.reading

    def tell(self, told: bytes) -> None:
        """Hand something to the thread's ``tell``; what was not told yet is replaced."""
        self._exchange.told = told


def _read_on(
    exchange: _Exchange,
    kafka: KafkaSettings,
    sources: Sequence[GroupLagSource],
    interval_s: float,
    timeout_s: float,
    tell: Callable[[bytes], None],
    ask_measures: Callable[[str], RouteMeasures],
    clock: Clock,
) -> None:
    trackers = [BacklogTracker(from_latest=source.from_latest) for source in sources]
    while not exchange.stop.is_set():
        began_s = clock.monotonic()
        is_complete = asyncio.run(_read(kafka, sources, trackers, timeout_s, clock))
        exchange.reading = Reading(
            exchange.reading.number + 1,
            is_complete,
            tuple(each.current for each in trackers),
            _measures(sources, ask_measures),
        )
        told, exchange.told = exchange.told, None
        if told is not None:
            try:
                tell(told)
            except Exception as error:  # noqa: BLE001 - telling must never end the reading
                log.debug("a decision could not be told: %r", error)
        exchange.stop.wait(max(0.0, interval_s - (clock.monotonic() - began_s)))


def _measures(
    sources: Sequence[GroupLagSource], ask_measures: Callable[[str], RouteMeasures]
) -> tuple[RouteMeasures, ...]:
    try:
        return tuple(ask_measures(source.route) for source in sources)
    except Exception as error:  # noqa: BLE001 - only a bound: the lag is read without it
        log.debug("what the consumers have measured could not be asked for: %r", error)
        return tuple(RouteMeasures() for _ in sources)


async def _read(
    kafka: KafkaSettings,
    sources: Sequence[GroupLagSource],
    trackers: Sequence[BacklogTracker],
    timeout_s: float,
    clock: Clock,
) -> bool:
    """Read every group; say whether all answered."""
    unread = list(trackers)
    try:
        async with asyncio.timeout(timeout_s), TopicAdmin(kafka) as admin:
            for source, tracker in zip(sources, trackers, strict=True):
                lags = await admin.group_lag(source.group, source.topic)
                tracker.observe(lags, clock.monotonic())
                if lags:
                    unread.remove(tracker)
    except TimeoutError:
        reason = f"Kafka did not answer within {timeout_s:g} s"
    except Exception as error:  # noqa: BLE001 - whatever it was: the numbers are held, and say why
        reason = f"Kafka did not tell the lag: {error}"
    else:
        return not unread
    log.warning("autoscaling: %s; what was read last is held", reason)
    for tracker in unread:
        tracker.failed(reason)
    return False
