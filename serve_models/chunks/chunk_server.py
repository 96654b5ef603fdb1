"""The life of calls in a replica, whatever answers them. No Ray here."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from handoff.chunk import STATUS_EXPIRED, STATUS_UNAVAILABLE, Chunk, Outcomes
from handoff.clock import Clock
from handoff.exporting import Readings
from serve_models.chunks.call import Call, wake_consumers
from serve_models.chunks.failures import ENDS_THE_TASK, describe
from serve_models.chunks.gathering import Gathering
from serve_models.chunks.traces import ReplicaTraces
from serve_models.chunks.window import SharedWindow
from serve_models.measuring.calls import CallCounts

logger = logging.getLogger(__name__)

Work = Callable[[], Coroutine[Any, Any, None]]


class ReplicaLostError(RuntimeError):
    """The replica cannot go on; its unanswered records can go to another one."""


@dataclass(frozen=True, slots=True)
class Host:
    """What a server needs to know of its process.

    Attributes:
        replica: Names this replica in its outcomes.
        clock: For deadlines, windows and watchdogs.
        on_death: Called once when the server dies; it ends the process soon. Until then no call
            ends: a consumer might send the records to this replica once more, at the cost of
            another attempt. Without it calls end when the server dies.
        traces: Follows the records that callers have sampled, if this replica traces.
    """

    replica: str
    clock: Clock
    on_death: Callable[[], None] | None = None
    traces: ReplicaTraces | None = None


class ChunkServer:
    """Answers each record of each chunk once; subclasses do the work.

    All methods belong to one event loop. Without a ``window`` the subclass reports windows itself.

    Attributes:
        outcome_linger_s: How long outcomes gather before they are streamed back; a change applies
            to new calls.
        gathers_by_consumer: Whether they gather over all calls of a consumer, and not in each.
    """

    gathers_by_consumer = True

    def __init__(self, host: Host, window: SharedWindow | None, outcome_linger_ms: float) -> None:
        self._host = host
        self._clock = host.clock
        self._calls: set[Call] = set()
        self._numbered: dict[tuple[str, int], Call] = {}
        self._gatherings: defaultdict[str, Gathering] = defaultdict(Gathering)
        self._window = window
        self._counts = CallCounts()
        self.outcome_linger_s = outcome_linger_ms / 1000
        # The loop itself keeps only weak references to tasks.
        self._tasks: set[asyncio.Task[None]] = set()
        self._lost: ReplicaLostError | None = None
        self._calls_may_end = asyncio.Event()

    def resize_window(self, records: float) -> None:
        if self._window is not None:
            self._window.records = records

    async def infer(self, chunk: Chunk) -> AsyncGenerator[Outcomes, None]:
        """Stream the outcomes of a chunk's records, each record exactly once.

        Closing the iterator early cancels the chunk's records.

        Raises:
            ReplicaLostError: The replica cannot go on. What is finished is yielded before; nothing
                is known of the other records, least of all that the model failed on them.
        """
        if self._find_loss() is not None:
            await self._calls_may_end.wait()
            self.check_health()
        call = self._open(chunk)
        try:
            self._begin(call)
            if self._reports_first(call):
                call.named_after_s = None
                yield Outcomes(self._host.replica, self._window_records(call))
            window_records = partial(self._window_records, call)
            async for outcomes in call.stream(self._host.replica, window_records):
                self._note_answered(call, outcomes)
                yield outcomes
            if call.loss is not None:
                if self._lost is not None:
                    await self._calls_may_end.wait()
                raise call.loss
            await self._finish(call)
        finally:
            self._close(call)
            await _cancel(call.tasks)

    def cancel(self, consumer: str, records: Mapping[int, Iterable[int]]) -> None:
        """Let go of records that their consumer does not want any more.

        Args:
            consumer: As in the chunks.
            records: Positions in the chunk, by the number of its call. Unknown ones do not matter.
        """
        for number, indexes in records.items():
            call = self._numbered.get((consumer, number))
            if call is not None:
                for index in indexes:
                    if call.waits_for(index):
                        self._counts.cancelled()
                        call.answer(index, STATUS_UNAVAILABLE, b"")
                        self._let_go(call, index)

    def readings(self) -> Readings:
        """Return what the replica's metrics read now."""
        window = self._window
        return Readings(
            counters=self._counts.readings(),
            gauges={}
            if window is None
            else {
                "model_in_flight_records": window.open_records,
                "model_window_records": window.total_records,
            },
        )

    def check_health(self) -> None:
        """Raise ``ReplicaLostError`` if the server cannot go on."""
        loss = self._find_loss()
        if loss is not None:
            raise loss

    async def stop(self) -> None:
        """Stop; calls that still wait end, so that their records go elsewhere."""
        self._calls_may_end.set()
        if self._lost is None:
            self._lost = ReplicaLostError("the replica was stopped")
        self._end_calls()
        await _cancel(self._tasks)
        self._shut_down()

    # --- what a subclass supplies ---

    def _begin(self, call: Call) -> None:
        """Begin work on a call's records; ``call.answer`` must answer each in the end."""
        raise NotImplementedError

    def _let_go(self, call: Call, index: int) -> None:
        """Free what a cancelled record uses; it is answered already."""

    async def _finish(self, call: Call) -> None:
        """Wait for what must end before a call does whose records are all answered."""

    def _release(self, call: Call) -> None:
        """Drop what a call still has here; its own tasks are cancelled next."""

    def _check_alive(self) -> None:
        """Raise ``ReplicaLostError`` if something hangs or is gone."""

    def _shut_down(self) -> None:
        """Free what the model uses: memory, processes, threads."""

    def _reports_first(self, call: Call) -> bool:
        consumer = call.chunk.consumer
        return self._window is not None and self._window.has_news(consumer, self._clock.monotonic())

    def _window_records(self, call: Call) -> int:
        if self._window is None:
            return 0
        return self._window.window_records(call.chunk.consumer, self._clock.monotonic())

    # --- what a subclass uses ---

    def _start(self, work: Work, call: Call | None = None) -> asyncio.Task[None]:
        """Run a task that ends with the call, or with the server. If it raises, the server dies."""
        task = asyncio.get_running_loop().create_task(self._guard(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if call is not None:
            call.tasks.append(task)
        return task

    def _left_s(self, call: Call, index: int) -> float | None:
        deadline_ms = call.chunk.deadline_ms(index)
        return None if deadline_ms is None else (deadline_ms - self._clock.epoch_ms()) / 1000

    def _expire_if_late(self, call: Call, index: int) -> bool:
        left_s = self._left_s(call, index)
        if left_s is None or left_s > 0:
            return False
        call.answer(index, STATUS_EXPIRED, b"")
        return True

    def _die(self, error: BaseException) -> None:
        """End: the server cannot go on. The first error counts."""
        if self._lost is None:
            is_loss = isinstance(error, ReplicaLostError)
            self._lost = ReplicaLostError(str(error) if is_loss else describe(error))
            # Not another error's text, which may quote a record; its task's line has the places.
            logger.error(
                "the replica cannot go on: %s",
                self._lost if is_loss else type(error).__name__,
                extra={"event": "replica_lost", "error_class": type(error).__name__},
            )
            if self._host.on_death is None:
                self._calls_may_end.set()
            else:
                self._host.on_death()
        self._end_calls()

    # --- its own ---

    def _open(self, chunk: Chunk) -> Call:
        gathering = None
        if chunk.call and self.gathers_by_consumer:
            gathering = self._gatherings[chunk.consumer]
        self._counts.calls += 1
        traces = None if self._host.traces is None else self._host.traces.of_call(chunk)
        call = Call(chunk, self.outcome_linger_s, gathering, traces)
        self._calls.add(call)
        if chunk.call:
            self._numbered[chunk.consumer, chunk.call] = call
        if self._window is not None:
            self._window.call_started(chunk, self._clock.monotonic())
        return call

    def _close(self, call: Call) -> None:
        consumer = call.chunk.consumer
        self._calls.discard(call)
        if not self._calls:
            self._counts.none_left()
        if self._numbered.get((consumer, call.number)) is call:
            # Not that of a call which was made again after a while without an answer.
            del self._numbered[consumer, call.number]
        self._release(call)
        call.close()
        if consumer in self._gatherings and not self._gatherings[consumer]:
            del self._gatherings[consumer]
        if call.unstreamed_records:
            self._note_ended(consumer, call.unstreamed_records)

    def _note_answered(self, call: Call, outcomes: Outcomes) -> None:
        answered = 0
        for each in (outcomes, *outcomes.others.values()):
            answered += len(each.indexes)
            if each.statuses:
                self._counts.streamed(each.statuses)
        if answered:
            self._note_ended(call.chunk.consumer, answered)

    def _note_ended(self, consumer: str, records: int) -> None:
        if self._window is not None:
            now_s = self._clock.monotonic()
            self._window.records_ended(consumer, records, now_s)
            wake_consumers(self._calls, self._window.consumers_with_news(now_s))

    def _find_loss(self) -> ReplicaLostError | None:
        if self._lost is None:
            try:
                self._check_alive()
            except ReplicaLostError as error:
                self._die(error)
        # A new one each time: one error raised in several calls would gather their tracebacks.
        return None if self._lost is None else ReplicaLostError(str(self._lost))

    def _end_calls(self) -> None:
        for call in self._calls:
            call.end(ReplicaLostError(str(self._lost)))
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()

    async def _guard(self, work: Work) -> None:
        try:
            await work()
        except ENDS_THE_TASK:
            raise
        except BaseException as error:
            logger.exception("a task of the replica failed", extra={"event": "replica_task_failed"})
            self._die(error)


async def _cancel(tasks: Collection[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
