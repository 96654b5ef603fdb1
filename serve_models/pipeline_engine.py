"""Chunks of request lines in, outcomes out: a pipeline of models without Ray.

The event loop owns everything. Each record goes its own way through the graph; requests of many
records for one model gather for a moment and go out together, and each outcome that streams back
takes its record on at once, so that a slow record holds nobody up.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

from schemas.handoff import STATUS_EXPIRED, STATUS_FAILED, Chunk, Outcomes
from schemas.pipeline_settings import PipelineSettings
from serve_models.clock import Clock
from serve_models.outcomes import ENDS_THE_TASK, Call, encode_failure_body
from serve_models.pipeline_graph import (
    Ending,
    PipelineGraph,
    RecordRun,
    StepAnswerError,
    StepRequest,
)
from serve_models.step_queue import StepQueue
from serve_models.window_share import ConsumerShare

logger = logging.getLogger(__name__)

_FIRST_WINDOW_RECORDS = 256
"""In flight to a model of which no replica has said yet what it wants."""


class StepModel(Protocol):
    """A model that steps call."""

    def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        """Stream a chunk's outcomes; the iterator raises where the replica is lost."""
        ...


class PipelineStoppedError(RuntimeError):
    """The pipeline's replica was stopped; the records can go to another."""


class StepLostError(RuntimeError):
    """A step's call ended without an outcome for this record, which can be tried again."""


@dataclass(slots=True, eq=False)
class _Record:
    """A record under way."""

    call: Call
    index: int
    deadline_ms: int | None
    run: RecordRun
    step_calls: set["_StepCall"] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class _Request:
    """One record's request to one step's model."""

    record: _Record
    step: str
    line: bytes


@dataclass(slots=True, eq=False)
class _StepCall:
    """A handle call under way: requests by their position in its chunk, until answered."""

    unanswered: dict[int, _Request]
    has_answers: bool = False
    task: asyncio.Task[None] | None = None

    def is_wanted(self) -> bool:
        return any(not request.record.run.is_over for request in self.unanswered.values())


@dataclass(slots=True, eq=False)
class _Line:
    """What goes to one model."""

    name: str
    model: StepModel
    queue: StepQueue[_Request]
    timer: asyncio.Handle | None = None


class PipelineEngine:
    """Takes records through a graph of models.

    ``infer``, ``stop`` and ``check_health`` belong to one event loop.

    Args:
        name: The pipeline's name in the settings.
        settings: Its steps, window and waits.
        models: What each model that a step names is called by.
        calls_per_window: Of each of these models, into how many calls a window of it is divided.
        replica: Names this replica in its outcomes, and to the models that it calls.
        clock: Tells deadlines, and who was seen lately.
    """

    def __init__(
        self,
        *,
        name: str,
        settings: PipelineSettings,
        models: Mapping[str, StepModel],
        calls_per_window: Mapping[str, int],
        replica: str,
        clock: Clock,
    ) -> None:
        self._graph = PipelineGraph(name, settings)
        self._replica = replica
        self._clock = clock
        self._outcome_linger_s = settings.outcome_linger_ms / 1000
        self._step_linger_s = settings.step_linger_ms / 1000
        self._window_records = settings.window_records
        self._share = ConsumerShare()
        self._lines = {
            model: _Line(
                model,
                models[model],
                StepQueue(_FIRST_WINDOW_RECORDS, calls_per_window[model], _origin),
            )
            for model in sorted({step.model for step in settings.steps.values()})
        }
        self._calls: set[Call] = set()
        self._step_calls: set[_StepCall] = set()
        self._death: BaseException | None = None

    @property
    def waiting_requests(self) -> Mapping[str, int]:
        """Requests that wait for each model, not counting those in flight."""
        return {name: len(line.queue) for name, line in self._lines.items()}

    async def infer(self, chunk: Chunk) -> AsyncGenerator[Outcomes, None]:
        """Stream the outcomes of a chunk's records, each record exactly once.

        Closing the iterator early takes its requests out of the queues, and closes the calls to
        models in which nobody else's are.

        Raises:
            PipelineStoppedError: The replica is stopping; others may live.
        """
        if self._death is not None:
            raise PipelineStoppedError(f"the pipeline ended: {self._death}") from self._death
        self._share.seen(chunk.consumer, self._clock.monotonic())
        call = Call(len(chunk.lines), self._outcome_linger_s)
        self._calls.add(call)
        records: list[_Record] = []
        try:
            for index, line in enumerate(chunk.lines):
                self._begin(call, index, line, chunk.deadline_ms(index), records)
            async for outcomes in call.stream(lambda: self._new_outcomes(chunk.consumer)):
                yield outcomes
        finally:
            self._calls.discard(call)
            self._abandon(records)

    async def stop(self) -> None:
        """Stop; calls that still wait are failed, so that their records go elsewhere."""
        self._die(PipelineStoppedError("the replica was stopped"))
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
        if self._death is not None:
            raise PipelineStoppedError(f"the pipeline ended: {self._death}") from self._death

    def _new_outcomes(self, consumer: str) -> Outcomes:
        now_s = self._clock.monotonic()
        self._share.seen(consumer, now_s)
        return Outcomes(self._replica, self._share.share(self._window_records, now_s))

    # --- records ---

    def _begin(
        self, call: Call, index: int, line: bytes, deadline_ms: int | None, records: list[_Record]
    ) -> None:
        if self._expired(deadline_ms):
            call.answer(index, STATUS_EXPIRED, b"")
            return
        try:
            run = self._graph.start(line)
            if isinstance(run, Ending):
                call.answer(index, run.status, run.body)
                return
            record = _Record(call, index, deadline_ms, run)
            records.append(record)
            self._go_on(record, run.first())
        except ENDS_THE_TASK:
            raise
        except BaseException as error:
            logger.exception("a record of pipeline '%s' could not be started", self._graph.name)
            call.answer(index, STATUS_FAILED, encode_failure_body(error))

    def _go_on(self, record: _Record, step: list[StepRequest] | Ending) -> None:
        """Send a record's next requests on their way, or end it."""
        if isinstance(step, Ending):
            self._end(record, step.status, step.body)
            return
        for request in step:
            line = self._lines[request.model]
            line.queue.add(_Request(record, request.step, request.line))
            self._schedule(line)

    def _end(self, record: _Record, status: int, body: bytes) -> None:
        record.run.end()
        record.call.answer(record.index, status, body)
        self._release(record)

    def _release(self, record: _Record) -> None:
        """Close the calls that carry nothing but what nobody wants any more."""
        for step_call in record.step_calls:
            if step_call.task is not None and step_call.unanswered and not step_call.is_wanted():
                step_call.task.cancel()
        record.step_calls.clear()

    def _abandon(self, records: list[_Record]) -> None:
        unfinished = [record for record in records if not record.run.is_over]
        for record in unfinished:
            record.run.end()
        for record in unfinished:
            self._release(record)
        if unfinished:
            for line in self._lines.values():
                line.queue.keep(_is_wanted)

    def _expired(self, deadline_ms: int | None) -> bool:
        return deadline_ms is not None and deadline_ms <= self._clock.epoch_ms()

    # --- calls to models ---

    def _schedule(self, line: _Line) -> None:
        """Let requests gather, no longer than until a call's worth waits."""
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
            while self._death is None and (requests := line.queue.take(now_s)):
                self._call(line, requests)
        except BaseException as error:
            # Called by the event loop, which would only log it: waiters must learn of it.
            logger.exception("pipeline '%s' cannot go on", self._graph.name)
            self._die(error)
            if isinstance(error, ENDS_THE_TASK):
                raise
        pause_s = line.queue.pause_s(now_s)
        if pause_s is not None and len(line.queue) and self._death is None:
            loop = asyncio.get_running_loop()
            line.timer = loop.call_later(pause_s, self._flush, line)

    def _call(self, line: _Line, requests: list[_Request]) -> None:
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
        line.queue.ended(len(requests) - len(wanted))
        if not wanted:
            return
        deadlines = [request.record.deadline_ms for request in wanted]
        chunk = Chunk(
            consumer=self._replica,
            lines=[request.line for request in wanted],
            deadlines_ms=deadlines if any(each is not None for each in deadlines) else [],
        )
        step_call = _StepCall(dict(enumerate(wanted)))
        for request in wanted:
            request.record.step_calls.add(step_call)
        self._step_calls.add(step_call)
        step_call.task = asyncio.get_running_loop().create_task(
            self._run_call(line, step_call, chunk)
        )

    async def _run_call(self, line: _Line, step_call: _StepCall, chunk: Chunk) -> None:
        unanswered = step_call.unanswered
        stream: Any = line.model.infer(chunk)
        try:
            async with aclosing(stream):
                async for outcomes in stream:
                    self._take(line, step_call, outcomes)
            if unanswered:
                error = StepLostError("the call ended without an outcome for this request")
                self._lose(line, step_call, error)
        except asyncio.CancelledError:
            # Nobody waits for the rest, or the replica stops.
            pass
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 -- whatever ended the call, its records are answered for
            self._lose(line, step_call, error)
        finally:
            self._step_calls.discard(step_call)
            line.queue.ended(len(unanswered))
            self._refill(line)

    def _take(self, line: _Line, step_call: _StepCall, outcomes: Outcomes) -> None:
        """Take records on by what their steps answered."""
        answers = list(zip(outcomes.indexes, outcomes.statuses, outcomes.bodies, strict=True))
        new = []
        for index, status, body in answers:
            request = step_call.unanswered.pop(index, None)
            if request is not None:
                request.record.step_calls.discard(step_call)
                new.append((request, status, body))
        if outcomes.replica:
            now_s = self._clock.monotonic()
            line.queue.answered(len(new), outcomes.replica, outcomes.window_records, now_s)
        else:
            line.queue.ended(len(new))
        step_call.has_answers = step_call.has_answers or bool(new)
        for request, status, body in new:
            self._take_one(request, status, body)
        self._refill(line)

    def _take_one(self, request: _Request, status: int, body: bytes) -> None:
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

    def _lose(self, line: _Line, step_call: _StepCall, error: BaseException) -> None:
        """Answer for the requests of a call that failed: other replicas may do better."""
        line.queue.lost(self._clock.monotonic(), had_answers=step_call.has_answers)
        waiting = [each for each in step_call.unanswered.values() if not each.record.run.is_over]
        logger.warning(
            "a call of model '%s' failed with %d records unanswered: %s: %s",
            line.name,
            len(waiting),
            type(error).__name__,
            error,
        )
        lost = StepLostError(f"step model '{line.name}': {type(error).__name__}: {error}")
        body = encode_failure_body(lost)
        for request in waiting:
            request.record.step_calls.discard(step_call)
            self._end(request.record, STATUS_FAILED, body)

    def _die(self, error: BaseException) -> None:
        self._death = self._death or error
        for call in self._calls:
            call.fail_unanswered(error)


def _origin(request: _Request) -> object:
    return request.record.call


def _is_wanted(request: _Request) -> bool:
    return not request.record.run.is_over
