"""Publishes outcomes and commits offsets: exactly-once, both in one transaction."""

import asyncio
import logging
from collections.abc import Collection, Coroutine, Sequence

from consumer.engine.engine import Engine
from consumer.engine.outcomes.transactions import Transaction
from consumer.engine.settings import LiveSettings
from consumer.loop.publishing import Publishing, UnpublishableError, messages_of
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


class ExactlyOnce(Publishing):
    """A ``Publishing`` with one transaction at a time for each input partition.

    A partition that turns out to be another member's is dropped at once. A rebalance follows, as
    only the group can have given it away. If none follows, the coordinator merely expired our
    transactional id: this member joins again and takes its partitions over.
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
        super().__init__(engine, clock, settings)
        self._source = source
        self._sink = sink
        self._tasks: set[asyncio.Task[None]] = set()
        self._fenced: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        await self._sink.start()

    async def take_over(self, partitions: Collection[TopicPartition]) -> None:
        if self._fenced is not None:
            self._fenced.cancel()
            self._fenced = None
        await self._sink.take_over(partitions)

    async def flush(self) -> None:
        while True:
            self._begin(even_without_outcomes=True)
            if not self._tasks:
                return
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    async def find_missing(self, topics: Collection[str]) -> set[str]:
        return await self._sink.find_missing(topics)

    def reconfigure(self, live: LiveSettings) -> None:
        self._sink.allow_replies(live.reply_topics)

    def waits(self) -> list[str]:
        return self._sink.waits()

    async def stop(self) -> None:
        if self._fenced is not None:
            self._fenced.cancel()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._sink.stop()

    def _loops(self) -> list[Coroutine[None, None, None]]:
        return [self._publish(), self._commit_quiet()]

    async def _publish(self) -> None:
        while True:
            await self._publishable.wait()
            self._publishable.clear()
            self._begin(even_without_outcomes=False)
            # Outcomes that are decided meanwhile go together.
            await asyncio.sleep(self._settings.transaction_linger_s)

    async def _commit_quiet(self) -> None:
        """Commit skipped records, which no outcome announces."""
        while True:
            await asyncio.sleep(max(self._settings.commit_interval_s, _LEAST_QUIET_S))
            self._begin(even_without_outcomes=True)

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
        engine = self._engine
        started_s = self._clock.monotonic()
        try:
            rejections = await self._sink.publish(
                transaction.partition, messages_of(transaction.items), transaction.point
            )
        except FencedError as error:
            engine.events.aborted_transactions += 1
            log.warning(
                "%s: %s; its records are the new owner's",
                transaction.partition,
                error,
                extra={
                    "event": "transaction_aborted",
                    "reason": "fenced",
                    "records": len(transaction.items),
                    **transaction.partition._asdict(),
                },
            )
            if engine.transaction_fenced(transaction):
                self._expect_rebalance()
        else:
            now_s = self._clock.monotonic()
            if rejections:
                engine.events.aborted_transactions += 1
                log.info(
                    "%s: a topic refuses %d messages of a transaction; it begins again without "
                    "them",
                    transaction.partition,
                    len(rejections),
                    extra={
                        "event": "transaction_aborted",
                        "reason": "refused",
                        "records": len(transaction.items),
                        **transaction.partition._asdict(),
                    },
                )
                self._substitute(transaction, rejections)
            else:
                engine.events.commits += 1
                engine.events.committed_transactions += 1
                engine.timings.committing.observe(now_s - started_s)
                self._note_published(transaction.items, now_s)
                engine.transaction_committed(transaction)
        self._on_progress()

    def _substitute(self, transaction: Transaction, rejections: Sequence[Rejection]) -> None:
        for rejection in rejections:
            self._refusals.note(rejection.message.item, [rejection])
        now_s, epoch_ms = self._clock.monotonic(), self._clock.epoch_ms()
        if not self._engine.transaction_refused(transaction, rejections, now_s, epoch_ms):
            item = rejections[0].message.item
            of_item = [each for each in rejections if each.message.item is item]
            raise UnpublishableError(item, of_item)

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
            "the group has not rebalanced though a partition was another member's; joining again",
            extra={"event": "group_joined_again", "reason": "fenced"},
        )
        self._source.rejoin()
