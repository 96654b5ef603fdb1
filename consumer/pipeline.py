"""The one async loop of a consumer replica: it moves records, the engine decides.

Four loops (poll, publish, commit, time) and a task for each handle call share one engine. They run
in one event loop and touch the engine only between awaits, so it needs no lock.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass

from consumer.core.engine import Engine
from consumer.core.held_partitions import AssignmentChange
from consumer.core.outbox import Publication
from consumer.core.ports import (
    Clock,
    CommitRefusedError,
    Message,
    ModelClient,
    RecordSource,
    ResultSink,
    TopicPartition,
)
from consumer.core.work import Call
from schemas.handoff import Chunk

log = logging.getLogger(__name__)

_PUBLISHERS = 2
"""Batches on their way to the broker at once: one is acknowledged while the next is built."""
_REFUSED_COMMIT_PAUSE_S = 0.2
_QUIET_COMMIT_S = 0.5
"""Skipped records move the offset without an outcome to announce them; commit those this often."""


@dataclass(frozen=True, slots=True)
class PipelineSettings:
    """Times and portions.

    Attributes:
        commit_interval_s: Between commits; 0 commits again as soon as the last has returned.
        revoke_budget_s: How long the revoke callback may publish and commit; shorter than the
            group's rebalance timeout.
        drain_timeout_s: How long a clean stop waits for work in flight.
        poll_records: The most records in one poll.
        idle_poll_s: How long a poll waits for records.
        restricted_poll_s: The same while some partition may not be read, and could be soon.
        publish_records: The most outcomes in one publish.
        publish_bytes: About the most bytes in one publish.
    """

    commit_interval_s: float = 0.5
    revoke_budget_s: float = 18.0
    drain_timeout_s: float = 30.0
    poll_records: int = 1024
    idle_poll_s: float = 0.5
    restricted_poll_s: float = 0.05
    publish_records: int = 2048
    publish_bytes: int = 4 * 1024 * 1024


class Pipeline:
    """Runs one route's engine against a source, a sink and a model.

    Args:
        engine: Decides; owned by this pipeline from here on.
        source: Where records come from.
        sink: Where outcomes go.
        model: Who computes.
        clock: The time.
        settings: Times and portions.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        source: RecordSource,
        sink: ResultSink,
        model: ModelClient,
        clock: Clock,
        settings: PipelineSettings,
    ) -> None:
        self.engine = engine
        self._source = source
        self._sink = sink
        self._model = model
        self._clock = clock
        self._settings = settings
        self._loops: list[asyncio.Task[None]] = []
        self._calls: dict[asyncio.Task[None], Call] = {}
        self._publishing = 0
        self._is_stopping = False
        self._failure: BaseException | None = None
        self._publishable = asyncio.Event()
        self._admissible = asyncio.Event()
        self._scheduled = asyncio.Event()
        self._settled = asyncio.Condition()
        self._commit_lock = asyncio.Lock()

    async def start(self) -> None:
        """Connect, join the group and begin.

        Raises:
            SourceError: The broker cannot be reached or refuses us.
        """
        await self._sink.start()
        try:
            await self._source.start(self)
        except BaseException:
            await self._sink.stop()
            raise
        self._spawn(self._poll())
        for _ in range(_PUBLISHERS):
            self._spawn(self._publish())
        self._spawn(self._commit())
        self._spawn(self._keep_time())

    def check(self) -> None:
        """Raise what ended the pipeline, if anything did.

        Raises:
            RuntimeError: A loop failed; the replica is to be replaced.
        """
        if self._failure is not None:
            raise RuntimeError(f"the consumer pipeline has failed: {self._failure!r}")

    @property
    def failure(self) -> BaseException | None:
        """What ended the pipeline, if anything did."""
        return self._failure

    async def drain(self) -> None:
        """Stop cleanly: finish what is in flight, publish, commit, leave the group.

        Records that only wait, here or for a model replica, are left to the next owner.
        """
        self._is_stopping = True
        self.engine.stop_intake()
        self._admissible.set()
        for task, call in self._calls.items():
            if not call.is_accepted:
                task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_timeout_s):
                await self._wait_until(lambda: not self._calls)
        for task in self._calls:
            task.cancel()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.revoke_budget_s):
                    await self._wait_until(self._is_published)
                    await self._commit_once()
        finally:
            await self._end_loops()
            await self._source.stop()
            await self._sink.stop()

    # --- RebalanceListener ---

    async def revoking(self) -> None:
        """Publish and commit what is finished; the work in flight runs on."""
        self.engine.suspend()
        try:
            async with asyncio.timeout(self._settings.revoke_budget_s):
                await self._wait_until(self._is_published)
                await self._commit_once()
        except TimeoutError:
            log.warning(
                "revoke: not all outcomes were acknowledged and committed within %.1f s; "
                "a new owner may repeat them",
                self._settings.revoke_budget_s,
            )
        finally:
            self.engine.hold_publications()

    async def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Take over the assignment; partitions that came back go on where they were."""
        committed = await self._source.committed(partitions)
        change = self.engine.assign({tp: committed.get(tp) for tp in partitions})
        for partition, offset in change.seeks.items():
            self._source.seek(partition, offset)
        self._cancel_unwanted_calls()
        _report(change)
        self._wake()

    # --- loops ---

    async def _poll(self) -> None:
        settings = self._settings
        while not self._is_stopping:
            allowance = self.engine.allowance()
            if not allowance.partitions:
                await _wait(self._admissible, settings.idle_poll_s)
                if not self.engine.allowance().partitions and not self._is_stopping:
                    await self._source.poll((), 1, 0)
                continue
            wait_s = settings.restricted_poll_s if allowance.is_restricted else settings.idle_poll_s
            most_records = min(allowance.records, settings.poll_records)
            records = await self._source.poll(allowance.partitions, most_records, wait_s)
            rewinds = self.engine.deliver(records, *self._now())
            for partition, offset in rewinds.items():
                self._source.seek(partition, offset)
            self._note_positions(allowance.partitions, rewinds)
            self._scheduled.set()
            self._dispatch()
            # A full fetch buffer answers without suspending; the calls must get their turn.
            await asyncio.sleep(0)

    def _note_positions(
        self, partitions: Collection[TopicPartition], rewinds: Collection[TopicPartition]
    ) -> None:
        positions = {}
        for partition in partitions:
            position = self._source.position(partition)
            if position is not None and partition not in rewinds:
                positions[partition] = position
        self.engine.pass_over(positions)

    async def _publish(self) -> None:
        while True:
            await self._publishable.wait()
            taken = self.engine.take_publications(
                self._settings.publish_records, self._settings.publish_bytes
            )
            if not taken:
                self._publishable.clear()
                continue
            self._publishing += 1
            try:
                await self._publish_all(taken)
            finally:
                self._publishing -= 1
            self._admissible.set()
            if self.engine.has_publications:  # substitutes for what was refused
                self._publishable.set()
            await self._notify()

    async def _publish_all(self, publications: list[Publication]) -> None:
        owners: list[tuple[Publication, int]] = []
        messages: list[Message] = []
        for publication in publications:
            for index, message in enumerate(publication.messages):
                owners.append((publication, index))
                messages.append(message)
        rejections = await self._sink.publish(messages)
        if not rejections:
            self.engine.acknowledged(publications)
            return
        refused: dict[int, dict[int, str]] = {}
        for rejection in rejections:
            publication, index = owners[rejection.index]
            refused.setdefault(id(publication), {})[index] = rejection.reason
        self.engine.acknowledged(each for each in publications if id(each) not in refused)
        now_s = self._clock.monotonic()
        for publication in publications:
            reasons = refused.get(id(publication))
            if reasons and not self.engine.rejected(publication, reasons, now_s):
                raise RuntimeError(
                    f"neither an outcome of {publication.item.record.partition} offset "
                    f"{publication.item.record.offset} nor its small substitute can be published: "
                    f"{'; '.join(reasons.values())}"
                )

    async def _commit(self) -> None:
        while True:
            if self._settings.commit_interval_s:
                await asyncio.sleep(self._settings.commit_interval_s)
            else:
                # Committing without a pause still waits until there is something to commit.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_QUIET_COMMIT_S):
                        await self._wait_until(self.engine.has_commit_points)
            if not await self._commit_once():
                await asyncio.sleep(_REFUSED_COMMIT_PAUSE_S)

    async def _commit_once(self) -> bool:
        """Commit what there is; False where the group refuses it."""
        async with self._commit_lock:
            points = self.engine.commit_points()
            if not points:
                return True
            try:
                await self._source.commit(points)
            except CommitRefusedError as error:
                log.info("commit refused, the group has moved on: %s", error)
                return False
            self.engine.committed(points)
            return True

    async def _keep_time(self) -> None:
        while True:
            self.engine.advance(*self._now())
            self._dispatch()
            self._scheduled.clear()
            await _wait(self._scheduled, self.engine.next_due_in_s(*self._now()))

    # --- calls ---

    def _dispatch(self) -> None:
        while (call := self.engine.next_call(*self._now())) is not None:
            task = asyncio.get_running_loop().create_task(self._run_call(*call))
            task.add_done_callback(self._note_end)
            self._calls[task] = call[0]
        if self.engine.has_publications:
            self._publishable.set()

    async def _run_call(self, call: Call, chunk: Chunk) -> None:
        reason = "the model replica ended the call without an outcome for this request"
        try:
            async for outcomes in self._model.infer(chunk):
                self.engine.take_outcomes(call, outcomes, *self._now())
                self._scheduled.set()
                self._dispatch()
        except asyncio.CancelledError:
            reason = "the call was cancelled"
        except Exception as error:  # noqa: BLE001 - whatever ended the call, its records go back
            reason = f"the model replica failed: {type(error).__name__}: {error}"
            log.warning("a call of %d records failed: %s", len(chunk.lines), reason)
        finally:
            task = asyncio.current_task()
            if task is not None:
                self._calls.pop(task, None)
            self.engine.end_call(call, reason, *self._now())
            # The time loop dispatches what this call made room for: a cancelled task starts none.
            self._scheduled.set()
            await self._notify()

    def _cancel_unwanted_calls(self) -> None:
        for task, call in self._calls.items():
            if not call.is_wanted():
                task.cancel()

    # --- plumbing ---

    def _is_published(self) -> bool:
        return not self._publishing and not self.engine.has_publications

    def _now(self) -> tuple[float, int]:
        return self._clock.monotonic(), self._clock.epoch_ms()

    def _wake(self) -> None:
        self._admissible.set()
        self._scheduled.set()
        self._dispatch()

    async def _notify(self) -> None:
        async with self._settled:
            self._settled.notify_all()

    def _spawn(self, loop: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(loop)
        task.add_done_callback(self._note_end)
        self._loops.append(task)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and self._failure is None:
            self._failure = error
            log.error("the consumer pipeline has failed", exc_info=error)

    async def _end_loops(self) -> None:
        # The poll ends by itself: cancelling a fetch would switch off a check of aiokafka's.
        for loop in self._loops[1:]:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)

    async def _wait_until(self, condition: Callable[[], bool]) -> None:
        async with self._settled:
            await self._settled.wait_for(condition)


async def _wait(event: asyncio.Event, timeout_s: float | None) -> None:
    event.clear()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()


def _report(change: AssignmentChange) -> None:
    log.info(
        "assignment: %d partitions kept, %d fresh, %d lost",
        len(change.kept),
        len(change.fresh),
        len(change.lost),
    )
    for partition, reason in change.unreadable.items():
        log.warning(
            "%s: the committed completion map was ignored, records above the committed offset may "
            "be repeated: %s",
            partition,
            reason,
        )
