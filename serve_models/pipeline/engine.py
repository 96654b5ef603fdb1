"""Answers chunks with a pipeline of models. No Ray here.

Each record goes through the graph by itself. Requests of many records for one model gather for a
moment and go out together. Each outcome continues its record at once, so that a slow record delays
no other.
"""

import asyncio
import contextlib
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from handoff.cancelling import AGAIN_AFTER_S
from handoff.chunk import (
    CARRIED_WITHIN_S,
    STATUS_EXPIRED,
    STATUS_FAILED,
    STATUS_LOST,
    CancellableModel,
    Chunk,
    Outcomes,
)
from handoff.exporting import Key, Readings
from handoff.histogram import Histogram
from schemas.settings.pipelines import PipelineSettings
from serve_models.chunks.call import Call
from serve_models.chunks.chunk_server import ChunkServer, Host
from serve_models.chunks.failures import ENDS_THE_TASK, encode_failure_body
from serve_models.chunks.window import SharedWindow
from serve_models.pipeline.graph import Ending, PipelineGraph, StepAnswerError, StepRequest
from serve_models.pipeline.records import Record, Request, StepCall
from serve_models.pipeline.step_queue import StepQueue

logger = logging.getLogger(__name__)

_FIRST_WINDOW_RECORDS = 256
"""The window of a model until one of its replicas has granted one."""
_QUEUE_SIGNED_EVERY_S = 30.0
_LET_GO_EVERY_S = 0.1
"""Each cancellation goes to all replicas of a model: a guard that refuses much would make many."""


@dataclass(slots=True, eq=False)
class _Line:
    name: str
    model: CancellableModel
    queue: StepQueue[Request]
    timer: asyncio.Handle | None = None
    signed_at_s: float = -math.inf


class PipelineEngine(ChunkServer):
    """Takes records through a graph of models.

    If a step's call is lost, for example because its model is down, nothing is known of the records
    without an answer: they end with ``STATUS_LOST``. So the caller can distinguish a model that is
    down from records that it fails on, as if it had called that model itself.

    The models see the replica of ``host`` as their consumer.
    """

    def __init__(
        self,
        *,
        name: str,
        settings: PipelineSettings,
        models: Mapping[str, CancellableModel],
        host: Host,
    ) -> None:
        super().__init__(host, SharedWindow(settings.window_records), settings.outcome_linger_ms)
        self._graph = PipelineGraph(name, settings)
        self.step_linger_s = settings.step_linger_ms / 1000
        self._lines = {
            model: _Line(
                model,
                models[model],
                StepQueue(_FIRST_WINDOW_RECORDS, _origin),
            )
            for model in sorted({step.model for step in settings.steps.values()})
        }
        self._step_seconds = {step: Histogram() for step in settings.steps}
        self._records: dict[Call, dict[int, Record]] = {}
        self._step_calls: dict[int, StepCall] = {}
        self._numbers = count(1)
        self._unwanted: dict[StepCall, None] = {}
        self._letting_go: asyncio.Handle | None = None
        self._let_go_at_s = -math.inf

    @property
    def waiting_requests(self) -> Mapping[str, int]:
        return {name: len(line.queue) for name, line in self._lines.items()}

    def readings(self) -> Readings:
        of_calls = super().readings()
        waiting: dict[Key, float] = {
            ("pipeline_waiting_requests", step): each
            for step, each in self.waiting_requests.items()
        }
        return Readings(
            of_calls.counters,
            {**of_calls.gauges, **waiting},
            {("pipeline_step_seconds", step): each for step, each in self._step_seconds.items()},
        )

    def _let_go(self, call: Call, index: int) -> None:
        record = self._records[call].get(index)
        if record is not None and not record.run.is_over:
            record.end()
            self._let_go_soon()

    def _release(self, call: Call) -> None:
        self._abandon(call)
        del self._records[call]

    def _shut_down(self) -> None:
        for line in self._lines.values():
            if line.timer is not None:
                line.timer.cancel()
        if self._letting_go is not None:
            self._letting_go.cancel()

    # --- records ---

    def _begin(self, call: Call) -> None:
        self._records[call] = {}
        for index, line in enumerate(call.chunk.lines):
            if not self._expire_if_late(call, index):
                self._begin_record(call, index, line)
            # A call lasts as long as its slowest record, and would keep the others' lines.
            call.chunk.lines[index] = b""

    def _begin_record(self, call: Call, index: int, line: bytes) -> None:
        try:
            run = self._graph.start(line)
            if isinstance(run, Ending):
                call.answer(index, run.status, run.body)
                return
            record = Record(call, index, run)
            self._records[call][index] = record
            self._watch_deadline(record)
            self._go_on(record, run.first())
        except ENDS_THE_TASK:
            raise
        except BaseException as error:
            logger.exception(
                "a record of pipeline '%s' could not be started",
                self._graph.name,
                extra={"event": "record_failed_in_model", "model": self._graph.name},
            )
            call.answer(index, STATUS_FAILED, encode_failure_body(error))

    def _go_on(self, record: Record, step: list[StepRequest] | Ending) -> None:
        if isinstance(step, Ending):
            self._end(record, step.status, step.body)
            return
        for request in step:
            line = self._lines[request.model]
            line.queue.add(_traced(Request(record, request.step, request.line), request.model))
            self._schedule(line)

    def _end(self, record: Record, status: int, body: bytes) -> None:
        record.end()
        self._records.get(record.call, {}).pop(record.index, None)
        record.call.answer(record.index, status, body)

    def _abandon(self, call: Call) -> None:
        unfinished = [each for each in self._records[call].values() if not each.run.is_over]
        for record in unfinished:
            record.end()
        if unfinished:
            self._let_go_soon()

    def _watch_deadline(self, record: Record) -> None:
        left_s = self._left_s(record.call, record.index)
        if left_s is not None:
            loop = asyncio.get_running_loop()
            record.timer = loop.call_later(left_s, self._end, record, STATUS_EXPIRED, b"")

    # --- what nobody wants any more ---

    def _note_unwanted(self, step_call: StepCall) -> None:
        if step_call.in_flight.replica is not None:
            self._unwanted[step_call] = None
            self._let_go_soon()
        elif not step_call.is_wanted:
            # No replica may have it. If others want it, its replica is told when it is known.
            step_call.close()

    def _let_go_soon(self) -> None:
        # Not at once: one cancellation ends many records, and each would cost the models a call.
        if self._letting_go is None:
            loop = asyncio.get_running_loop()
            wait_s = self._let_go_at_s + _LET_GO_EVERY_S - loop.time()
            if wait_s > 0:
                self._letting_go = loop.call_later(wait_s, self._let_go_now)
            else:
                self._letting_go = loop.call_soon(self._let_go_now)

    def _let_go_now(self) -> None:
        self._letting_go = None
        for line in self._lines.values():
            line.queue.keep(_is_wanted)
        now_s = self._clock.monotonic()
        cancelled: defaultdict[str, dict[int, list[int]]] = defaultdict(dict)
        for step_call in self._unwanted:
            if due := step_call.cancellation.take_due(step_call.unwanted(), now_s):
                cancelled[step_call.model][step_call.number] = due
            if step_call.unanswered and not step_call.is_wanted and step_call.closing is None:
                loop = asyncio.get_running_loop()
                step_call.closing = loop.call_later(AGAIN_AFTER_S, step_call.close)
        self._unwanted.clear()
        if cancelled:
            self._let_go_at_s = asyncio.get_running_loop().time()
        for model, records in cancelled.items():
            self._start(partial(self._lines[model].model.cancel, self._host.replica, records))

    # --- calls to models ---

    def _schedule(self, line: _Line) -> None:
        loop = asyncio.get_running_loop()
        if line.queue.is_full or not self.step_linger_s:
            if isinstance(line.timer, asyncio.TimerHandle):
                line.timer.cancel()
                line.timer = None
            line.timer = line.timer or loop.call_soon(self._flush, line)
        elif line.timer is None:
            line.timer = loop.call_later(self.step_linger_s, self._flush, line)

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
            while self._lost is None and (requests := line.queue.take(now_s)):
                self._call(line, requests)
        except BaseException as error:
            # The event loop, which calls this, would only log it, and the calls would wait on.
            logger.exception(
                "pipeline '%s' cannot go on",
                self._graph.name,
                extra={"event": "replica_lost", "model": self._graph.name},
            )
            self._die(error)
            if isinstance(error, ENDS_THE_TASK):
                raise
        pause_s = line.queue.pause_s(now_s)
        if pause_s is not None and len(line.queue) and self._lost is None:
            loop = asyncio.get_running_loop()
            line.timer = loop.call_later(pause_s, self._flush, line)

    def _call(self, line: _Line, requests: list[Request]) -> None:
        wanted = []
        for request in requests:
            record = request.record
            if record.run.is_over:
                continue
            if self._expire_if_late(record.call, record.index):
                record.end()
            else:
                wanted.append(request)
        if not wanted:
            return
        deadlines = [
            request.record.call.chunk.deadline_ms(request.record.index) for request in wanted
        ]
        in_flight = line.queue.sent(len(wanted))
        chunk = Chunk(
            consumer=self._host.replica,
            lines=[request.line for request in wanted],
            deadlines_ms=deadlines if any(each is not None for each in deadlines) else [],
            wanted_records=line.queue.wanted_records,
            call=next(self._numbers),
            traces={i: each.trace.context for i, each in enumerate(wanted) if each.trace} or None,
        )
        step_call = StepCall(
            number=chunk.call,
            model=line.name,
            unanswered=dict(enumerate(wanted)),
            in_flight=in_flight,
            on_unwanted=self._note_unwanted,
            sent_at_s=self._clock.monotonic(),
        )
        self._step_calls[step_call.number] = step_call
        step_call.task = self._start(partial(self._run_call, line, step_call, chunk))
        # Not in the task: a task that is cancelled before it starts never runs.
        step_call.task.add_done_callback(lambda _: self._call_ended(line, step_call))

    async def _run_call(self, line: _Line, step_call: StepCall, chunk: Chunk) -> None:
        unanswered = step_call.unanswered
        stream: Any = line.model.infer(chunk)
        try:
            async with aclosing(stream):
                async for outcomes in stream:
                    self._take_all(line, step_call, outcomes)
            if step_call.elsewhere > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(CARRIED_WITHIN_S):
                        await step_call.has_all.wait()
            if unanswered:
                error = RuntimeError("the call ended without an outcome for this request")
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
        del self._step_calls[step_call.number]
        self._unwanted.pop(step_call, None)
        if step_call.closing is not None:
            step_call.closing.cancel()
        line.queue.ended(step_call.in_flight, self._clock.monotonic())
        self._refill(line)

    def _take_all(self, line: _Line, step_call: StepCall, outcomes: Outcomes) -> None:
        step_call.elsewhere += outcomes.elsewhere
        self._take(line, step_call, outcomes)
        for number, each in outcomes.others.items():
            other = self._step_calls.get(number)
            if other is not None:
                other.elsewhere -= len(each.indexes)
                self._take(line, other, each)

    def _take(self, line: _Line, step_call: StepCall, outcomes: Outcomes) -> None:
        answers = list(zip(outcomes.indexes, outcomes.statuses, outcomes.bodies, strict=True))
        new = []
        for index, status, body in answers:
            request = step_call.answer(index)
            if request is not None:
                new.append((request, status, body))
        was_named = step_call.in_flight.replica is not None
        now_s = self._clock.monotonic()
        for step, answered in Counter(request.step for request, *_ in new).items():
            self._step_seconds[step].observe(now_s - step_call.sent_at_s, answered)
        line.queue.heard(
            step_call.in_flight, len(new), outcomes.replica, outcomes.window_records, now_s
        )
        if not was_named and step_call.unwanted():
            self._note_unwanted(step_call)
        step_call.has_answers = step_call.has_answers or bool(new)
        for request, status, body in new:
            self._take_one(request, status, body)
        if outcomes.is_working:
            self._pass_on_work(line, step_call)
        if step_call.unanswered and not step_call.is_wanted:
            # Its last wanted record is answered. The replica may not have heard of the others.
            self._note_unwanted(step_call)
        self._refill(line)

    def _pass_on_work(self, line: _Line, step_call: StepCall) -> None:
        """Tell the callers of the records that a step's model works on, or that wait for it."""
        requests = list(step_call.unanswered.values())
        now_s = self._clock.monotonic()
        # Each call of the model gives the sign, and each sign to a caller costs an item.
        if now_s - line.signed_at_s >= _QUEUE_SIGNED_EVERY_S:
            line.signed_at_s = now_s
            requests += line.queue
        for call in {each.record.call for each in requests if not each.record.run.is_over}:
            call.say_working()

    def _take_one(self, request: Request, status: int, body: bytes) -> None:
        record = request.record
        request.note_answer(status)
        if record.run.is_over:
            return
        try:
            self._go_on(record, record.run.take(request.step, status, body))
        except StepAnswerError as error:
            self._end(record, STATUS_FAILED, encode_failure_body(error))
        except ENDS_THE_TASK:
            raise
        except BaseException as error:
            logger.exception(
                "step '%s': an outcome could not be read",
                request.step,
                extra={"event": "record_failed_in_model", "step": request.step},
            )
            self._end(record, STATUS_FAILED, encode_failure_body(error))

    def _lose(self, line: _Line, step_call: StepCall, error: BaseException) -> None:
        """Give back the records of a lost call: another replica may answer them."""
        line.queue.lost(self._clock.monotonic(), had_answers=step_call.has_answers)
        waiting = [each for each in step_call.unanswered.values() if not each.record.run.is_over]
        logger.warning(
            "a call of model '%s' failed with %d records unanswered: %s",
            line.name,
            len(waiting),
            type(error).__name__,
            extra={
                "event": "call_failed",
                "model": line.name,
                "records": len(waiting),
                "error_class": type(error).__name__,
            },
        )
        reason = f"step model '{line.name}' was lost: {type(error).__name__}: {error}"
        for request in waiting:
            # To end its records must not cancel the task that runs this call.
            request.record.step_calls.remove(step_call)
        for request in waiting:
            if not request.record.run.is_over:
                self._end(request.record, STATUS_LOST, encode_failure_body(reason))


def _traced(request: Request, model: str) -> Request:
    traces = request.record.call.traces
    if traces is not None:
        request.trace = traces.begin_step(request.record.index, request.step, model)
    return request


def _origin(request: Request) -> object:
    return request.record.call


def _is_wanted(request: Request) -> bool:
    return not request.record.run.is_over
