"""The one async loop of a consumer replica: it moves records, the engine decides.

The loops (poll, time, those of ``Publishing``) and a task for each handle call share one engine.
They run in one event loop and touch the engine only between awaits, so it needs no lock.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Coroutine

from consumer.engine.bodies.claims import BodyStore, Move, MoveEnd
from consumer.engine.engine import Engine
from consumer.engine.offsets.assigned_partitions import AssignmentChange
from consumer.engine.settings import LiveSettings
from consumer.engine.standing.waits import LastingWaits
from consumer.engine.work import Call, ModelContractError
from consumer.loop.body_transfers import BodyTransfers
from consumer.loop.call_stream import CallFailedError, stream_outcomes
from consumer.loop.control_reader import ControlReader, TimedControl
from consumer.loop.publishing import Publishing
from consumer.loop.settings import PipelineSettings
from consumer.loop.watch import Watch
from consumer.ports import ControlSource, RecordSource, TopicPartition
from handoff.chunk import Chunk, ChunkModel
from handoff.clock import Clock

log = logging.getLogger(__name__)

_LOOKS_PER_SESSION = 4


class Pipeline:
    """Runs one route's engine against a source, a sink and a model.

    Args:
        engine: Decides; owned by this pipeline from here on.
        source: Where records come from.
        publishing: How outcomes are published and offsets committed.
        model: Who computes.
        clock: The time.
        settings: Times and portions.
        store: Where large bodies lie, if the engine has a claim check.
        control: What is to be cancelled, if the route has a control topic.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        source: RecordSource,
        publishing: Publishing,
        model: ChunkModel,
        clock: Clock,
        settings: PipelineSettings,
        store: BodyStore | None = None,
        control: ControlSource | None = None,
    ) -> None:
        self.engine = engine
        self._source = source
        self._publishing = publishing
        self._model = model
        self._clock = clock
        self._settings = settings
        self._transfers = (
            None
            if store is None
            else BodyTransfers(
                moves=engine.body_moves, store=store, clock=clock, end_move=self._end_move
            )
        )
        self._control = (
            None if control is None else ControlReader(control, engine.counters, self._cancel)
        )
        self._watch = Watch(engine, source, clock, self._end_unwanted_calls)
        self._waits = LastingWaits()
        self._loops: list[asyncio.Task[None]] = []
        self._calls: dict[asyncio.Task[None], Call] = {}
        self._is_stopping = False
        self._failed = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None
        self._awake_at_s = 0.0
        self._failure: BaseException | None = None
        self._admissible = asyncio.Event()
        self._scheduled = asyncio.Event()
        self._settled = asyncio.Condition()

    async def start(self) -> None:
        """Connect, join the group and begin.

        Raises:
            SourceError: The broker cannot be reached or refuses us.
        """
        self._awake_at_s = self._clock.monotonic()
        if self._control is not None:
            await self._control.start()
        try:
            await self._publishing.start()
            try:
                await self._source.start(self)
            except BaseException:
                await self._publishing.stop()
                raise
        except BaseException:
            await self._stop_control()
            raise
        self._spawn(self._poll())
        for loop in self._publishing.loops(self._note_progress):
            self._spawn(loop)
        self._spawn(self._keep_time())
        self._spawn(self._watch_for_pauses())
        self._spawn(self._watch.watch_calls())
        self._spawn(self._watch.watch_for_stall())
        if self._transfers is not None:
            self._spawn(self._transfers.run())
        if self._control is not None:
            self._spawn(self._control.run())

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

    def reconfigure(self, live: LiveSettings) -> None:
        """Go on with other settings, from the next record on."""
        self.engine.reconfigure(live)
        self._wake()

    def waits(self) -> list[str]:
        """Return what this consumer has waited for lately; to be asked every second or so."""
        now_s = self._clock.monotonic()
        lines = [*self.engine.waits(now_s), *self._source.waits(), *self._publishing.waits()]
        return self._waits.of(lines, now_s)

    async def drain(self) -> None:
        """Stop cleanly: finish what is in flight, publish, commit, leave the group.

        Records that only wait, here or for a model replica, are left to the next owner. A pipeline
        that has failed, now or before, finishes nothing.
        """
        self._is_stopping = True
        self._admissible.set()
        if self._failure is None:
            self.engine.stop_intake()
            await self._unless_failed(self._finish())
        await self._end()

    async def _finish(self) -> None:
        for task, call in self._calls.items():
            if not call.is_accepted:
                task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_timeout_s):
                await self._wait_until(self._is_computed)
        for task in self._calls:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.revoke_budget_s):
                await self._publishing.flush()

    async def _unless_failed(self, finishing: Coroutine[None, None, None]) -> None:
        finished = asyncio.create_task(finishing)
        failed = asyncio.create_task(self._failed.wait())
        try:
            await asyncio.wait([finished, failed], return_when=asyncio.FIRST_COMPLETED)
        finally:
            finished.cancel()
            failed.cancel()
            await asyncio.wait([finished, failed])
        if not finished.cancelled():
            finished.result()

    # --- RebalanceListener ---

    async def revoking(self) -> None:
        """Publish and commit what is finished; the work in flight runs on."""
        if self._failure is not None:
            return
        self.engine.suspend()
        try:
            async with asyncio.timeout(self._settings.revoke_budget_s):
                await self._publishing.flush()
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
        if self._failure is not None:
            return
        await self._publishing.take_over(partitions)
        committed = await self._source.committed(partitions)
        points = {tp: committed.get(tp) for tp in partitions}
        change = self.engine.assign(points, self._source.log_ids())
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
            self.engine.expire(self._source.take_expired())
            rewinds = self.engine.deliver(records, *self._now())
            del records  # else they stay until the next ones come
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

    async def _keep_time(self) -> None:
        while True:
            self.engine.advance(*self._now())
            self._dispatch()
            self._scheduled.clear()
            await _wait(self._scheduled, self.engine.next_due_in_s(*self._now()))

    async def _watch_for_pauses(self) -> None:
        while True:
            await asyncio.sleep(self._settings.session_timeout_s / _LOOKS_PER_SESSION)
            self._note_pause()

    def _note_pause(self) -> None:
        """Ask the group after a time in which it may have given this member up.

        What was in flight then may be published by a new owner too, so nothing is until the group
        has said whose the partitions are.
        """
        now_s = self._clock.monotonic()
        paused_s, self._awake_at_s = now_s - self._awake_at_s, now_s
        unheard_s = self._source.unheard_s() or 0.0
        if max(paused_s, unheard_s) <= self._settings.session_timeout_s or self._is_stopping:
            return
        if paused_s > self._settings.session_timeout_s:
            what, silent_s = "this process stood still", paused_s
        else:
            what, silent_s = "the group's coordinator has not answered our heartbeats", unheard_s
        log.warning(
            "%s for %.1f s, longer than a session: joining the group again before anything more "
            "is published",
            what,
            silent_s,
        )
        self.engine.suspend(f"the group may have given this consumer up: {what}; it joins again")
        self.engine.hold_publications()
        self._source.rejoin()

    # --- calls ---

    def _dispatch(self) -> None:
        while (call := self.engine.next_call(*self._now())) is not None:
            task = asyncio.get_running_loop().create_task(self._run_call(*call))
            task.add_done_callback(self._note_end)
            self._calls[task] = call[0]
        if self.engine.has_publications:
            self._publishing.wake()
        if self._transfers is not None:
            self._transfers.wake()

    async def _run_call(self, call: Call, chunk: Chunk) -> None:
        reason = "the model replica ended the call without an outcome for this request"
        stream = stream_outcomes(self._model, chunk)
        # One record may take hours: what the others were must not stay for it.
        del chunk
        try:
            async for outcomes in stream:
                self._note_pause()
                self.engine.take_outcomes(call, outcomes, *self._now())
                del outcomes
                self._scheduled.set()
                self._dispatch()
        except asyncio.CancelledError:
            reason = "the call was cancelled"
        except (CallFailedError, ModelContractError) as error:
            # Whatever ended the call, its records go back; what the engine raises ends the worker.
            reason = f"the model replica failed: {error}"
            log.warning("a call of %d records failed: %s", call.records, reason)
        finally:
            task = asyncio.current_task()
            if task is not None:
                self._calls.pop(task, None)
        self.engine.end_call(call, reason, *self._now())
        # The time loop dispatches what this call made room for: a cancelled task starts none.
        self._scheduled.set()
        await self._notify()

    def _cancel_unwanted_calls(self) -> None:
        loop = asyncio.get_running_loop()
        for task, call in self._calls.items():
            if not call.is_wanted():
                # Not at once: a task that is cancelled before its first step never runs, and its
                # call would never end.
                loop.call_soon(task.cancel)

    def _end_unwanted_calls(self) -> None:
        self._cancel_unwanted_calls()
        self._dispatch()

    def _cancel(self, controls: list[TimedControl]) -> None:
        cancelled = self.engine.cancel(controls, self._calls.values(), *self._now())
        if cancelled:
            log.info("cancelled %d records", cancelled)
            self._end_unwanted_calls()

    async def _end_move(self, move: Move, end: MoveEnd) -> None:
        self.engine.end_move(move, end, *self._now())
        self._admissible.set()
        self._scheduled.set()
        self._dispatch()
        await self._notify()

    # --- plumbing ---

    def _is_computed(self) -> bool:
        return not self._calls and not self.engine.body_moves.has_deposits

    async def _stop_control(self) -> None:
        if self._control is not None:
            await self._control.stop()

    def _note_progress(self) -> None:
        self._admissible.set()
        # What waited for an acknowledged outcome in its order may go now.
        self._scheduled.set()

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
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """End at once, and not when Serve gets round to replacing this replica.

        From here on an outcome or an offset might stand where another log's or another member's
        belongs.
        """
        self._failure = error
        log.error("the consumer pipeline has failed", exc_info=error)
        self.engine.end()
        self._is_stopping = True
        self._failed.set()
        self._admissible.set()
        self._ending = asyncio.get_running_loop().create_task(self._let_go())

    async def _end(self) -> None:
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._let_go())
        await asyncio.shield(self._ending)

    async def _let_go(self) -> None:
        """End everything that runs, and leave the group."""
        # The poll ends by itself: cancelling a fetch would switch off a check of aiokafka's.
        for task in (*self._calls, *self._loops[1:]):
            task.cancel()
        ends = await asyncio.gather(self._publishing.stop(), self._leave(), return_exceptions=True)
        await self._stop_control()
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    async def _leave(self) -> None:
        if self._loops:
            await asyncio.wait(self._loops, timeout=self._settings.session_timeout_s)
        await self._source.stop()

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
