"""The pipeline's engine: chunks of request lines in, outcomes out, without Ray.

Each record goes through the graph by itself. Requests of many records for one model gather for a
moment and go out together. Each outcome continues its record at once, so that a slow record delays
no other.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from handoff.chunk import STATUS_EXPIRED, STATUS_FAILED, Chunk, ChunkModel, Outcomes
from handoff.clock import Clock
from schemas.settings.pipelines import PipelineSettings
from serve_models.pipeline.graph import Ending, PipelineGraph, StepAnswerError, StepRequest
from serve_models.pipeline.records import IncomingCall, Record, Request, StepCall, StepLostError
from serve_models.pipeline.step_queue import StepQueue
from serve_models.serving.call import ENDS_THE_TASK, encode_failure_body, tell_consumers
from serve_models.serving.engine_end import EngineEnd
from serve_models.serving.window import SharedWindow

logger = logging.getLogger(__name__)

_FIRST_WINDOW_RECORDS = 256
"""The window of a model until one of its replicas has granted one."""


class PipelineStoppedError(RuntimeError):
    """The pipeline's replica was stopped; the records can go to another."""


@dataclass(slots=True, eq=False)
class _Line:
    """A model and the requests for it."""

    name: str
    model: ChunkModel
    queue: StepQueue[Request]
    timer: asyncio.Handle | None = None


class PipelineEngine:
    """Takes records through a graph of models.

    ``infer``, ``stop`` and ``check_health`` belong to one event loop.

    Args:
        name: The pipeline's name in the settings.
        settings: Its steps, window and waits.
        models: The models that the steps name.
        calls_per_window: By model, into how many calls the window of its replica is divided.
        replica: Names this replica in its outcomes, and to the models that it calls.
        clock: For deadlines and windows.
        on_death: As ``serve_models.serving.engine_end.EngineEnd`` calls it.
    """

    def __init__(
        self,
        *,
        name: str,
        settings: PipelineSettings,
        models: Mapping[str, ChunkModel],
        calls_per_window: Mapping[str, int],
        replica: str,
        clock: Clock,
        on_death: Callable[[], None] | None = None,
    ) -> None:
        self._graph = PipelineGraph(name, settings)
        self._replica = replica
        self._clock = clock
        self._outcome_linger_s = settings.outcome_linger_ms / 1000
        self._step_linger_s = settings.step_linger_ms / 1000
        self._window = SharedWindow(settings.window_records)
        self._lines = {
            model: _Line(
                model,
                models[model],
                StepQueue(_FIRST_WINDOW_RECORDS, calls_per_window[model], _origin),
            )
            for model in sorted({step.model for step in settings.steps.values()})
        }
        self._calls: set[IncomingCall] = set()
        self._step_calls: set[StepCall] = set()
        self._engine_end = EngineEnd(on_death)

    @property
    def waiting_requests(self) -> Mapping[str, int]:
        """Requests that wait for each model, not counting those in flight."""
        return {name: len(line.queue) for name, line in self._lines.items()}

    async def infer(self, chunk: Chunk) -> AsyncGenerator[Outcomes, None]:
        """Stream the outcomes of a chunk's records, each record exactly once.

        Closing the iterator early takes its requests out of the queues, and closes the calls to
        models in which nobody else's are.

        Where a step's call is lost without any answer, as while its model is down, nothing can be
        said of the records in it: the stream yields what is finished and raises. All unfinished
        records of the chunk go back with it, those of steps that are well too: so the caller sees
        a call that failed, as if it had called that model itself, and can tell a model that is
        down from records that it fails on.

        Raises:
            PipelineStoppedError: The replica stops, or did before; others may live.
            StepLostError: A step's call was lost; the records without an outcome can be tried
                again.
        """
        if self._engine_end.cause is not None:
            await self._engine_end.calls_may_end()
        self.check_health()
        self._window.call_started(chunk, self._clock.monotonic())
        call = IncomingCall(len(chunk.lines), self._outcome_linger_s, chunk.consumer)
        self._calls.add(call)
        try:
            for index, line in enumerate(chunk.lines):
                self._begin(call, index, line, chunk.deadline_ms(index))
            if self._window.has_news(chunk.consumer, self._clock.monotonic()):
                yield self._new_outcomes(chunk.consumer)
            async for outcomes in call.stream(lambda: self._new_outcomes(chunk.consumer)):
                yield outcomes
            if call.loss is not None:
                if self._engine_end.cause is not None:
                    await self._engine_end.calls_may_end()
                raise call.loss
        finally:
            self._calls.discard(call)
            now_s = self._clock.monotonic()
            self._window.call_ended(chunk, now_s)
            self._abandon(call)
            tell_consumers(self._calls, self._window.consumers_with_news(now_s))

    async def stop(self) -> None:
        """Stop; calls that still wait end, so that their records go elsewhere."""
        stopped = PipelineStoppedError("the replica was stopped")
        self._engine_end.stop(stopped)
        self._die(stopped)
        for line in self._lines.values():
            if line.timer is not None:
                line.timer.cancel()
        tasks = [call.task for call in self._step_calls if call.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def check_health(self) -> None:
        """Return if the pipeline can go on.

        Raises:
            PipelineStoppedError: It cannot.
        """
        cause = self._engine_end.cause
        if cause is not None:
            raise PipelineStoppedError(f"the pipeline ended: {cause}") from cause

    def _new_outcomes(self, consumer: str) -> Outcomes:
        window_records = self._window.window_records(consumer, self._clock.monotonic())
        return Outcomes(self._replica, window_records)

    # --- records ---

    def _begin(self, call: IncomingCall, index: int, line: bytes, deadline_ms: int | None) -> None:
        if self._expired(deadline_ms):
            call.answer(index, STATUS_EXPIRED, b"")
            return
        try:
            run = self._graph.start(line)
            if isinstance(run, Ending):
                call.answer(index, run.status, run.body)
                return
            record = Record(call, index, deadline_ms, run)
            call.records.append(record)
            self._watch_deadline(record)
            self._go_on(record, run.first())
        except ENDS_THE_TASK:
            raise
        except BaseException as error:
            logger.exception("a record of pipeline '%s' could not be started", self._graph.name)
            call.answer(index, STATUS_FAILED, encode_failure_body(error))

    def _go_on(self, record: Record, step: list[StepRequest] | Ending) -> None:
        if isinstance(step, Ending):
            self._end(record, step.status, step.body)
            return
        for request in step:
            line = self._lines[request.model]
            line.queue.add(Request(record, request.step, request.line))
            self._schedule(line)

    def _end(self, record: Record, status: int, body: bytes) -> None:
        record.end()
        record.call.answer(record.index, status, body)

    def _abandon(self, call: IncomingCall) -> None:
        unfinished = [record for record in call.records if not record.run.is_over]
        for record in unfinished:
            record.end()
        if unfinished:
            for line in self._lines.values():
                line.queue.keep(_is_wanted)

    def _watch_deadline(self, record: Record) -> None:
        """End the record at its deadline, wherever in the pipeline it is."""
        if record.deadline_ms is not None:
            left_s = (record.deadline_ms - self._clock.epoch_ms()) / 1000
            loop = asyncio.get_running_loop()
            record.timer = loop.call_later(left_s, self._end, record, STATUS_EXPIRED, b"")

    def _expired(self, deadline_ms: int | None) -> bool:
        return deadline_ms is not None and deadline_ms <= self._clock.epoch_ms()

    # --- calls to models ---

    def _schedule(self, line: _Line) -> None:
        """Let requests gather until a full call waits."""
        loop = asyncio.get_running_loop()
        if line.queue.is_full or not self._step_linger_s:
            if isinstance(line.timer, asyncio.TimerHandle):
                line.timer.cancel()
                line.timer = None
            line.timer = line.timer or loop.call_soon(self._flush, line)
        elif line.timer is None:
            line.timer = loop.call_later(self._step_linger_s, self._flush, line)

    def _refill(self, line: _Line) -> None:
        """Send what waited for room; what gathers still has its timer."""
        if line.timer is None and len(line.queue):
            self._flush(line)

    def _flush(self, line: _Line) -> None:
        if line.timer is not None:
            line.timer.cancel()
            line.timer = None
        now_s = self._clock.monotonic()
        try:
            while self._engine_end.cause is None and (requests := line.queue.take(now_s)):
                self._call(line, requests)
        except BaseException as error:
            # The event loop, which calls this, would only log it, and the calls would wait on.
            logger.exception("pipeline '%s' cannot go on", self._graph.name)
            self._die(error)
            if isinstance(error, ENDS_THE_TASK):
                raise
        pause_s = line.queue.pause_s(now_s)
        if pause_s is not None and len(line.queue) and self._engine_end.cause is None:
            loop = asyncio.get_running_loop()
            line.timer = loop.call_later(pause_s, self._flush, line)

    def _call(self, line: _Line, requests: list[Request]) -> None:
        """Start a call for those of the requests that are still wanted."""
        wanted = []
        for request in requests:
            record = request.record
            if record.run.is_over:
                continue
            if self._expired(record.deadline_ms):
                self._end(record, STATUS_EXPIRED, b"")
            else:
                wanted.append(request)
        if not wanted:
            return
        deadlines = [request.record.deadline_ms for request in wanted]
        in_flight = line.queue.sent(len(wanted))
        chunk = Chunk(
            consumer=self._replica,
            lines=[request.line for request in wanted],
            deadlines_ms=deadlines if any(each is not None for each in deadlines) else [],
            wanted_records=line.queue.wanted_records,
        )
        step_call = StepCall(dict(enumerate(wanted)), in_flight)
        self._step_calls.add(step_call)
        step_call.task = asyncio.get_running_loop().create_task(
            self._run_call(line, step_call, chunk)
        )
        # Not in the task: a task that is cancelled before it starts never runs.
        step_call.task.add_done_callback(lambda _: self._call_ended(line, step_call))

    async def _run_call(self, line: _Line, step_call: StepCall, chunk: Chunk) -> None:
        unanswered = step_call.unanswered
        stream: Any = line.model.infer(chunk)
        try:
            async with aclosing(stream):
                async for outcomes in stream:
                    self._take(line, step_call, outcomes)
            if unanswered:
                error = StepLostError("the call ended without an outcome for this request")
                self._lose(line, step_call, error)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            # Cancelled from here, the records are over or the replica stops. Otherwise something
            # in the model's replica was cancelled, and the records still wait.
            if task is None or not task.cancelling():
                self._lose(line, step_call, error)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 -- whatever ended the call, its records are answered for
            self._lose(line, step_call, error)

    def _call_ended(self, line: _Line, step_call: StepCall) -> None:
        self._step_calls.discard(step_call)
        line.queue.ended(step_call.in_flight, self._clock.monotonic())
        self._refill(line)

    def _take(self, line: _Line, step_call: StepCall, outcomes: Outcomes) -> None:
        answers = list(zip(outcomes.indexes, outcomes.statuses, outcomes.bodies, strict=True))
        new = []
        for index, status, body in answers:
            request = step_call.answer(index)
            if request is not None:
                new.append((request, status, body))
        line.queue.heard(
            step_call.in_flight,
            len(new),
            outcomes.replica,
            outcomes.window_records,
            self._clock.monotonic(),
        )
        step_call.has_answers = step_call.has_answers or bool(new)
        for request, status, body in new:
            self._take_one(request, status, body)
        self._refill(line)

    def _take_one(self, request: Request, status: int, body: bytes) -> None:
        record = request.record
        if record.run.is_over:
            return
        try:
            self._go_on(record, record.run.take(request.step, status, body))
        except StepAnswerError as error:
            self._end(record, STATUS_FAILED, encode_failure_body(error))
        except ENDS_THE_TASK:
            raise
        except BaseException as error:
            logger.exception("step '%s': an outcome could not be taken in", request.step)
            self._end(record, STATUS_FAILED, encode_failure_body(error))

    def _lose(self, line: _Line, step_call: StepCall, error: BaseException) -> None:
        """Give back the records of a lost call: another replica may answer them.

        If the call had no answer at all, the model may be down, which must not count against them.
        """
        line.queue.lost(self._clock.monotonic(), had_answers=step_call.has_answers)
        waiting = [each for each in step_call.unanswered.values() if not each.record.run.is_over]
        logger.warning(
            "a call of model '%s' failed with %d records unanswered: %s: %s",
            line.name,
            len(waiting),
            type(error).__name__,
            error,
        )
        reason = f"step model '{line.name}': {type(error).__name__}: {error}"
        for request in waiting:
            # To end its records must not cancel the task that runs this call.
            request.record.step_calls.remove(step_call)
        if not step_call.has_answers:
            for call in {request.record.call for request in waiting}:
                call.give_up(StepLostError(reason))
                self._abandon(call)
            return
        body = encode_failure_body(StepLostError(reason))
        for request in waiting:
            self._end(request.record, STATUS_FAILED, body)

    def _die(self, error: BaseException) -> None:
        self._engine_end.die(error)
        for call in self._calls:
            # One each: an exception that is raised in several calls would gather their tracebacks.
            call.give_up(PipelineStoppedError(f"the pipeline ended: {error}"))


def _origin(request: Request) -> object:
    return request.record.call


def _is_wanted(request: Request) -> bool:
    return not request.record.run.is_over
