"""The asyncio shell around the engine of a consumer replica: it moves records, the engine decides.

One task, the pump, waits until something has changed or a time is due. Then it advances the engine,
starts calls and moves of bodies, and wakes publishing. Everything else only reports to the engine
and wakes the pump: the poll, the calls, ``Publishing``, the watches. All run in one event loop and
use the engine only between awaits, so it needs no lock.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Coroutine

from consumer.engine.bodies.store import BodyStore
from consumer.engine.engine import Engine
from consumer.engine.settings import LiveSettings
from consumer.engine.waiting.waits import LastingWaits
from consumer.engine.work import Call, ModelContractError
from consumer.loop.body_transfers import BodyTransfers
from consumer.loop.call_stream import CallFailedError, stream_outcomes
from consumer.loop.control_reader import ControlReader, TimedControl
from consumer.loop.event_log import EventLog, log_assignment, log_failed_call, log_revocation
from consumer.loop.publishing import Publishing
from consumer.loop.settings import LoopSettings
from consumer.loop.topic_look_ups import TopicLookUps
from consumer.loop.watch import SessionWatch, Watch
from consumer.ports import ControlSource, RecordSource, TopicPartition
from handoff.chunk import CARRIED_WITHIN_S, CancellableModel, Chunk
from handoff.clock import Clock

log = logging.getLogger(__name__)

_ACCEPTANCE_S = 1.0
"""So long a clean stop waits to hear that replicas accept the calls on their way to them."""


class ConsumerLoop:
    """Runs one route's engine against a source, a sink and a model; it owns the engine."""

    def __init__(
        self,
        *,
        engine: Engine,
        source: RecordSource,
        publishing: Publishing,
        model: CancellableModel,
        clock: Clock,
        settings: LoopSettings,
        store: BodyStore | None = None,
        control: ControlSource | None = None,
    ) -> None:
        self.engine = engine
        self.failure: BaseException | None = None
        self._source = source
        self._publishing = publishing
        self._model = model
        self._clock = clock
        self._settings = settings
        self._transfers = (
            None
            if store is None
            else BodyTransfers(
                bodies=engine.bodies, store=store, clock=clock, note_end=self._note_end
            )
        )
        self._look_ups = TopicLookUps(engine, publishing, clock, self._note_end)
        self._control = (
            None if control is None else ControlReader(control, engine.counters, self._cancel)
        )
        self._watch = Watch(engine, source, clock, self._let_go_of_unwanted)
        self._session = SessionWatch(engine, source, clock, settings.session_timeout_s)
        self._waits = LastingWaits()
        self._event_log = EventLog(engine, source, publishing, clock)
        self._tasks: list[asyncio.Task[None]] = []
        self._calls: dict[asyncio.Task[None], Call] = {}
        self._cancellations: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        self._failed = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None
        # Into the pump: there is work. Out of it: it has made a turn, so check again.
        self._changed = asyncio.Event()
        self._turned = asyncio.Event()

    async def start(self) -> None:
        """Connect, join the group and begin; ``SourceError`` if the broker refuses us."""
        self._session.look()
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
        self._spawn(self._pump())
        for loop in self._publishing.loops(self._wake):
            self._spawn(loop)
        self._spawn(self._session.watch())
        self._spawn(self._watch.watch_calls())
        self._spawn(self._watch.watch_for_stall())
        self._spawn(self._watch.watch_log_ends())
        self._spawn(self._event_log.run())
        if self._control is not None:
            self._spawn(self._control.run())

    def check(self) -> None:
        """Raise ``RuntimeError`` if a task ended the loop; the replica is to be replaced."""
        if self.failure is not None:
            raise RuntimeError(f"the consumer loop has failed: {self.failure!r}")

    def reconfigure(self, live: LiveSettings) -> None:
        self.engine.reconfigure(live)
        self._publishing.reconfigure(live)
        self._wake()

    def waits(self) -> list[str]:
        """Return what this consumer has waited for lately; call this about every second."""
        now_s = self._clock.monotonic()
        lines = [*self.engine.waits(now_s), *self._source.waits(), *self._publishing.waits()]
        return self._waits.of(lines, now_s)

    async def drain(self) -> None:
        """Stop cleanly: finish what is in flight, publish, commit, leave the group.

        Waiting records are left to the next owner. A failed loop finishes nothing.
        """
        self._is_stopping = self._session.is_leaving = True
        if self.failure is None:
            self.engine.stop_intake()
            self._wake()
            await self._unless_failed(self._finish())
        await self._end()

    async def _finish(self) -> None:
        # A replica may have begun with a call that this loop does not know to be accepted yet; to
        # cancel it now would compute its records twice.
        await self._until(self._is_accepted, _ACCEPTANCE_S)
        for task, call in self._calls.items():
            if not call.is_accepted:
                task.cancel()
        await self._until(self._is_computed, self._settings.drain_timeout_s)
        for task in self._calls:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.revoke_budget_s):
                await self._publishing.flush()

    def _is_accepted(self) -> bool:
        return all(call.is_accepted for call in self._calls.values())

    def _is_computed(self) -> bool:
        return not self._calls and not self.engine.bodies.moves.has_deposits

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

    async def revoking(self) -> None:
        if self.failure is not None:
            return
        self.engine.suspend()
        log_revocation(self.engine)
        try:
            async with asyncio.timeout(self._settings.revoke_budget_s):
                await self._publishing.flush()
        except TimeoutError:
            log.warning(
                "revoke: not all outcomes were acknowledged and committed within %.1f s; "
                "a new owner may repeat them",
                self._settings.revoke_budget_s,
                extra={"event": "revoke_out_of_time", "budget_s": self._settings.revoke_budget_s},
            )
        finally:
            self.engine.hold_publications()

    async def assigned(self, partitions: Collection[TopicPartition]) -> None:
        if self.failure is not None:
            return
        await self._publishing.take_over(partitions)
        committed = await self._source.committed(partitions)
        points = {tp: committed.get(tp) for tp in partitions}
        change = self.engine.assign(points, self._source.log_ids())
        for partition, offset in change.seeks.items():
            self._source.seek(partition, offset)
        self._let_go_of_unwanted()
        log_assignment(change)

    async def _pump(self) -> None:
        while True:
            self._changed.clear()
            self.engine.advance(*self._now())
            self._start_calls()
            if self._transfers is not None:
                self._transfers.start_moves()
            if self.engine.look_ups.is_due:
                self._look_ups.start()
            if self.engine.has_publications:
                self._publishing.wake()
            self._note_turn()
            due_in_s = self.engine.next_due_in_s(*self._now())
            if due_in_s is None:
                await self._changed.wait()
            else:
                timer = asyncio.get_running_loop().call_later(due_in_s, self._changed.set)
                await self._changed.wait()
                timer.cancel()

    def _wake(self) -> None:
        self._changed.set()

    def _note_turn(self) -> None:
        self._turned.set()
        self._turned.clear()

    async def _until(self, condition: Callable[[], object], timeout_s: float) -> None:
        """Wait for a condition that changes with the pump's turns, or for the timeout."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not condition():
                    await self._turned.wait()

    async def _poll(self) -> None:
        settings = self._settings
        while not self._is_stopping:
            allowance = self.engine.allowance()
            if not allowance.partitions:
                is_full = not self.engine.is_suspended and not self.engine.reads_on
                closed_at_s = self._clock.monotonic()
                await self._until(self._may_poll, settings.idle_poll_s)
                if is_full:
                    closed_s = self._clock.monotonic() - closed_at_s
                    self.engine.events.admission_closed_seconds += closed_s
                if not self._may_poll():
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
            self._wake()
            # A full fetch buffer answers without suspending; the calls must get their turn.
            await asyncio.sleep(0)

    def _may_poll(self) -> bool:
        return self._is_stopping or bool(self.engine.allowance().partitions)

    def _note_positions(
        self, partitions: Collection[TopicPartition], rewinds: Collection[TopicPartition]
    ) -> None:
        positions = {}
        for partition in partitions:
            position = self._source.position(partition)
            if position is not None and partition not in rewinds:
                positions[partition] = position
        self.engine.pass_over(positions)

    def _start_calls(self) -> None:
        while (call := self.engine.next_call(*self._now())) is not None:
            task = asyncio.get_running_loop().create_task(self._run_call(*call))
            task.add_done_callback(self._note_end)
            self._calls[task] = call[0]

    async def _run_call(self, call: Call, chunk: Chunk) -> None:
        reading = self._read_call(call, chunk)
        # One record may take hours: the lines of the others must not stay in memory for it.
        del chunk
        try:
            reason = await reading
        except asyncio.CancelledError:
            reason = "the call was cancelled"
        finally:
            task = asyncio.current_task()
            if task is not None:
                self._calls.pop(task, None)
        self.engine.end_call(call, reason, *self._now())

    async def _read_call(self, call: Call, chunk: Chunk) -> str:
        """Take the outcomes; return why records without one have none."""
        reason = "the model replica ended the call without an outcome for this request"
        stream = stream_outcomes(self._model, chunk)
        del chunk
        try:
            async for outcomes in stream:
                self._session.look()
                self.engine.take_outcomes(call, outcomes, *self._now())
                del outcomes
                if self.engine.calls.has_unwanted:
                    self._let_go_of_unwanted()
                self._wake()
        except (CallFailedError, ModelContractError) as error:
            # Whatever ended the call, its records go back; what the engine raises ends the loop.
            reason = f"the model replica failed: {error}"
            log_failed_call(call, error)
        if call.elsewhere > 0:
            await self._until(lambda: call.elsewhere <= 0, CARRIED_WITHIN_S)
        return reason

    def _let_go_of_unwanted(self) -> None:
        loop = asyncio.get_running_loop()
        cancelled, closed = self.engine.calls.let_go(self._clock.monotonic())
        if cancelled:
            task = loop.create_task(self._model.cancel(self.engine.consumer, cancelled))
            self._cancellations.add(task)
            task.add_done_callback(self._cancellations.discard)
        for task, call in self._calls.items():
            if call in closed:
                # Not at once: a task that is cancelled before its first step never runs, and its
                # call would never end.
                loop.call_soon(task.cancel)
        self._wake()

    def _cancel(self, controls: list[TimedControl]) -> None:
        cancelled = self.engine.backlog.cancel(controls, *self._now())
        if cancelled:
            log.info(
                "cancelled %d records",
                cancelled,
                extra={"event": "records_cancelled", "records": cancelled},
            )
            self._let_go_of_unwanted()

    def _now(self) -> tuple[float, int]:
        return self._clock.monotonic(), self._clock.epoch_ms()

    def _spawn(self, loop: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(loop)
        task.add_done_callback(self._note_end)
        self._tasks.append(task)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and self.failure is None:
            self._fail(error)
        self._wake()

    def _fail(self, error: BaseException) -> None:
        """End at once: an outcome or offset might now be another log's or another member's."""
        self.failure = error
        log.error(
            "the consumer loop has failed: %r",
            error,
            exc_info=error,
            extra={"event": "consumer_failed"},
        )
        self.engine.end()
        self._is_stopping = self._session.is_leaving = True
        self._failed.set()
        self._note_turn()
        self._ending = asyncio.get_running_loop().create_task(self._let_go())

    async def _end(self) -> None:
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._let_go())
        await asyncio.shield(self._ending)

    async def _let_go(self) -> None:
        # The poll ends by itself: cancelling a fetch would disable a check of aiokafka's.
        for task in (*self._calls, *self._tasks[1:]):
            task.cancel()
        stops = [self._publishing.stop(), self._leave(), self._look_ups.stop()]
        if self._transfers is not None:
            stops.append(self._transfers.stop())
        ends = await asyncio.gather(*stops, return_exceptions=True)
        await self._stop_control()
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    async def _leave(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._settings.session_timeout_s)
        self._event_log.look()
        await self._source.stop()

    async def _stop_control(self) -> None:
        if self._control is not None:
            await self._control.stop()
