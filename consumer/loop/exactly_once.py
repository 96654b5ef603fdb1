"""Publishing outcomes and committing offsets: exactly-once, both in one transaction."""

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Mapping

from consumer.engine.engine import Engine
from consumer.engine.outcomes.transactions import Transaction
from consumer.loop import outgoing
from consumer.loop.settings import LoopSettings
from consumer.ports import (
    FencedError,
    RecordSource,
    Rejection,
    TopicPartition,
    TransactionalSink,
)
from handoff.clock import Clock

log = logging.getLogger(__name__)

_LEAST_QUIET_S = 0.5


class ExactlyOnce:
    """A ``Publishing`` with one transaction at a time for each input partition.

    A partition that is found to be another member's is dropped at once. The group rebalances soon
    after, since that member can only have it where the group has given it away. Where it does not,
    the coordinator has only forgotten us, as one does that was away for longer than a transaction
    may be open: then this member joins again, and what the group says is its own starts afresh.

    Args:
        engine: Whose outcomes and offsets.
        source: Joins the group again.
        sink: Where outcomes and offsets go.
        clock: The time.
        settings: Times and portions.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        source: RecordSource,
        sink: TransactionalSink,
        clock: Clock,
        settings: LoopSettings,
    ) -> None:
        self._engine = engine
        self._source = source
        self._sink = sink
        self._clock = clock
        self._settings = settings
        self._on_progress: Callable[[], None] = _do_nothing
        self._refusals = outgoing.RefusalLog()
        self._publishable = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[None] | None = None
        self._fenced: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Connect; see ``Publishing``."""
        self._failed = asyncio.get_running_loop().create_future()
        await self._sink.start()

    def loops(self, on_progress: Callable[[], None]) -> list[Coroutine[None, None, None]]:
        """Return the loops that begin transactions; see ``Publishing``."""
        self._on_progress = on_progress
        return [self._publish(), self._commit_quiet(), self._fail()]

    def wake(self) -> None:
        """Take note that the engine has outcomes to publish."""
        self._publishable.set()

    async def take_over(self, partitions: Collection[TopicPartition]) -> None:
        """Fence the partitions' earlier owners; see ``Publishing``."""
        if self._fenced is not None:
            self._fenced.cancel()
            self._fenced = None
        await self._sink.take_over(partitions)

    async def flush(self) -> None:
        """Publish and commit what the engine lets out; see ``Publishing``."""
        while True:
            self._begin(even_without_outcomes=True)
            if not self._tasks:
                return
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    def waits(self) -> list[str]:
        """Return what the sink waits for; see ``Publishing``."""
        return self._sink.waits()

    async def stop(self) -> None:
        """Disconnect; what is under way is aborted."""
        if self._fenced is not None:
            self._fenced.cancel()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._sink.stop()

    async def _publish(self) -> None:
        while True:
            await self._publishable.wait()
            self._publishable.clear()
            self._begin(even_without_outcomes=False)
            # What finishes meanwhile goes together.
            await asyncio.sleep(self._settings.transaction_linger_s)

    async def _commit_quiet(self) -> None:
        """Commit what was skipped, which no outcome announces."""
        while True:
            await asyncio.sleep(max(self._settings.commit_interval_s, _LEAST_QUIET_S))
            self._begin(even_without_outcomes=True)

    async def _fail(self) -> None:
        if self._failed is not None:
            await self._failed

    def _begin(self, *, even_without_outcomes: bool) -> None:
        due = self._engine.transactions.partitions_due(even_without_outcomes=even_without_outcomes)
        for partition in due:
            transaction = self._engine.transactions.begin(
                partition, self._settings.publish_records, self._settings.publish_bytes
            )
            if transaction is not None:
                task = asyncio.get_running_loop().create_task(self._run(transaction))
                self._tasks.add(task)
                task.add_done_callback(self._note_end)

    async def _run(self, transaction: Transaction) -> None:
        owners, messages = outgoing.flatten(transaction.publications)
        try:
            rejections = await self._sink.publish(
                transaction.partition, messages, transaction.point
            )
        except FencedError as error:
            log.warning("%s: %s; its records are the new owner's", transaction.partition, error)
            if self._engine.transaction_fenced(transaction):
                self._expect_rebalance()
        else:
            if rejections:
                self._substitute(transaction, outgoing.by_publication(owners, rejections))
            else:
                self._engine.transaction_committed(transaction)
        self._on_progress()

    def _substitute(
        self, transaction: Transaction, refused: Mapping[int, Mapping[int, Rejection]]
    ) -> None:
        by_position = {
            position: refused[id(publication)]
            for position, publication in enumerate(transaction.publications)
            if id(publication) in refused
        }
        for position, of_it in by_position.items():
            self._refusals.note(transaction.publications[position], of_it)
        now_s, epoch_ms = self._clock.monotonic(), self._clock.epoch_ms()
        if not self._engine.transaction_refused(transaction, by_position, now_s, epoch_ms):
            position = next(iter(by_position))
            publication = transaction.publications[position]
            raise outgoing.UnpublishableError(publication, by_position[position])

    def _note_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._end_with(error)
        # The partition may have more by now.
        self._publishable.set()

    def _expect_rebalance(self) -> None:
        if self._fenced is None:
            self._fenced = asyncio.get_running_loop().call_later(
                self._settings.session_timeout_s, self._rejoin
            )

    def _rejoin(self) -> None:
        self._fenced = None
        log.warning(
            "the group has not rebalanced though a partition was another member's; joining again"
        )
        self._source.rejoin()

    def _end_with(self, error: BaseException) -> None:
        if self._failed is not None and not self._failed.done():
            self._failed.set_exception(error)


def _do_nothing() -> None:
    pass
