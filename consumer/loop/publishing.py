"""Publishing outcomes and committing offsets: what at-least-once and exactly-once share."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence

from consumer.engine.engine import Engine
from consumer.engine.settings import LiveSettings
from consumer.engine.work import WorkItem
from consumer.loop.settings import LoopSettings
from consumer.ports import Message, Rejection, TopicPartition
from handoff.clock import Clock

log = logging.getLogger(__name__)

_MOST_TOPICS = 1000


class Publishing(ABC):
    def __init__(self, engine: Engine, clock: Clock, settings: LoopSettings) -> None:
        self._engine = engine
        self._clock = clock
        self._settings = settings
        self._refusals = RefusalLog()
        self._has_defect = False
        self._publishable = asyncio.Event()
        self._on_progress: Callable[[], None] = _do_nothing
        self._failed: asyncio.Future[None] | None = None

    @abstractmethod
    async def start(self) -> None:
        """Connect; ``SourceError`` says what to check if that fails."""

    def loops(self, on_progress: Callable[[], None]) -> list[Coroutine[None, None, None]]:
        """Return what runs with the consumer loop; ``on_progress``: the engine has room again."""
        self._on_progress = on_progress
        return [*self._loops(), self._fail()]

    def wake(self) -> None:
        self._publishable.set()

    @abstractmethod
    async def take_over(self, partitions: Collection[TopicPartition]) -> None:
        """Ensure that nobody else publishes for ``partitions``, before progress is read."""

    @abstractmethod
    async def flush(self) -> None:
        """Publish what the engine releases, and commit; return when all is acknowledged."""

    @abstractmethod
    async def find_missing(self, topics: Collection[str]) -> set[str]:
        """Return which reply topics do not exist; ``SourceError`` if the cluster does not say."""

    def reconfigure(self, live: LiveSettings) -> None:  # noqa: B027 - nothing to do by default
        """Go on with other settings."""

    @abstractmethod
    def waits(self) -> list[str]:
        """Return what publishing waits for now, a line each; see ``engine.waiting.waits``."""

    @abstractmethod
    async def stop(self) -> None: ...

    @abstractmethod
    def _loops(self) -> list[Coroutine[None, None, None]]: ...

    def _note_published(self, items: Sequence[WorkItem], now_s: float) -> None:
        """Have the engine note the times of what is acknowledged; the outcomes stand without."""
        try:
            self._engine.note_published(items, now_s, self._clock.epoch_ms())
        except Exception as error:
            level = logging.DEBUG if self._has_defect else logging.WARNING
            self._has_defect = True
            log.log(
                level,
                "the times of outcomes are not noted: %r",
                error,
                exc_info=error,
                extra={"event": "observing_failed", "error_class": type(error).__name__},
            )

    def _end_with(self, error: BaseException) -> None:
        failed = self._failing()
        if not failed.done():
            failed.set_exception(error)

    async def _fail(self) -> None:
        await self._failing()

    def _failing(self) -> asyncio.Future[None]:
        if self._failed is None:
            self._failed = asyncio.get_running_loop().create_future()
        return self._failed


class UnpublishableError(RuntimeError):
    """The dead-letter topic takes no dead letter of any record: going on would lose them all."""

    def __init__(self, item: WorkItem, rejections: Iterable[Rejection]) -> None:
        record = item.record
        reasons = "; ".join(each.reason for each in rejections)
        super().__init__(
            f"{record.partition} offset {record.offset}: not even the smallest dead letter can be "
            f"published, so the route stands still rather than lose records: {reasons}"
        )


class RefusalLog:
    """Logs what topics refuse: each topic once as a warning, as there may be many."""

    def __init__(self) -> None:
        self._warned_of: set[str] = set()

    def note(self, item: WorkItem, rejections: Iterable[Rejection]) -> None:
        record = item.record
        for rejection in rejections:
            topic = rejection.message.topic
            level = logging.INFO if topic in self._warned_of else logging.WARNING
            if len(self._warned_of) >= _MOST_TOPICS:  # of reply topics there may be any number
                self._warned_of.clear()
            self._warned_of.add(topic)
            log.log(
                level,
                "%s offset %d: %s",
                record.partition,
                record.offset,
                rejection.reason,
                extra={
                    "event": "message_refused",
                    "refused_by": topic,
                    "offset": record.offset,
                    **record.partition._asdict(),
                },
            )


def messages_of(items: Iterable[WorkItem]) -> list[Message]:
    return [message for item in items for message in item.messages]


def _do_nothing() -> None:
    pass
