"""Chunks of request lines in, outcomes out: the generator without Ray and without vLLM.

Every record of a chunk is handed to the model at once, each in a task of its own: which sequences
run together is the model's to decide (continuous batching), not this module's.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from handoff.chunk import STATUS_EXPIRED, STATUS_FAILED, Chunk, Outcomes
from handoff.clock import Clock
from serve_models.serving.call import ENDS_THE_TASK, Call, encode_failure_body, tell_consumers
from serve_models.serving.engine_end import EngineEnd
from serve_models.serving.window import SharedWindow

logger = logging.getLogger(__name__)


class GeneratorDiedError(RuntimeError):
    """The model cannot go on; replace the replica. Its records can go to another."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model gives for one request.

    Attributes:
        status: HTTP status; from ``STATUS_FAILED`` up the model failed, not the request.
        body: The response's body as UTF-8 JSON.
        tokens: Read and generated for it; ``None`` where they were not counted.
    """

    status: int
    body: bytes
    tokens: int | None = None


class GeneratingModel(Protocol):
    """A model that answers requests side by side."""

    @property
    def max_num_seqs(self) -> int:
        """Sequences that it runs at a time."""
        ...

    async def answer(self, url: str, body: dict[str, Any]) -> Answer:
        """Answer one request; cancelling it frees what the request holds in the model.

        Raises:
            GeneratorDiedError: The model cannot go on.
        """
        ...

    def check_alive(self) -> None:
        """Return if the model can go on.

        Raises:
            GeneratorDiedError: It cannot.
        """
        ...

    def shut_down(self) -> None:
        """Free what the model holds: memory, processes."""
        ...


class GenerationEngine:
    """Answers the records of many calls side by side.

    All methods belong to one event loop.

    Args:
        model: Generates.
        in_flight_ratio: Records in flight by the model's ``max_num_seqs``.
        outcome_linger_ms: How long outcomes gather before they are streamed back.
        replica: Names this replica in its outcomes.
        clock: Tells deadlines.
        on_death: As ``serve_models.serving.engine_end.EngineEnd`` calls it.
    """

    def __init__(
        self,
        model: GeneratingModel,
        *,
        in_flight_ratio: float,
        outcome_linger_ms: float,
        replica: str,
        clock: Clock,
        on_death: Callable[[], None] | None = None,
    ) -> None:
        self._model = model
        self._replica = replica
        self._clock = clock
        self._linger_s = outcome_linger_ms / 1000
        self._window = SharedWindow(model.max_num_seqs * in_flight_ratio)
        self._calls: set[Call] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._end = EngineEnd(on_death)

    @property
    def in_flight_records(self) -> int:
        """Records that the model is at work on, or has yet to let go of."""
        return len(self._tasks)

    def check_health(self) -> None:
        """Return if the engine can go on.

        Raises:
            GeneratorDiedError: It cannot.
        """
        try:
            self._raise_if_dead()
            self._model.check_alive()
        except GeneratorDiedError as error:
            self._die(error)
            raise

    async def stop(self) -> None:
        """Stop; calls that still wait end, so that their records go elsewhere."""
        stopped = GeneratorDiedError("the replica was stopped")
        self._end.stop(stopped)
        self._die(stopped)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._model.shut_down()

    async def infer(self, chunk: Chunk) -> AsyncGenerator[Outcomes, None]:
        """Stream the outcomes of a chunk's records, each record exactly once.

        The first item has no outcomes and says at once how many records the replica wants, which
        a consumer would else learn when the first generation ends. Closing the iterator early
        aborts the chunk's records that still run.

        Where the model dies, the stream yields what is finished and raises, as one from a replica
        that was killed: nothing can be said of the other records, least of all that the model
        failed on them.

        Raises:
            GeneratorDiedError: The model died, before or now; other replicas may live.
        """
        if self._end.cause is not None:
            await self._end.calls_may_end()
        self._raise_if_dead()
        self._window.call_started(chunk, self._clock.monotonic())
        call = Call(len(chunk.lines), self._linger_s, chunk.consumer)
        call.named_after_s = None  # said below, at once
        self._calls.add(call)
        tasks = [
            self._start(self._answer(call, index, line, chunk.deadline_ms(index)))
            for index, line in enumerate(chunk.lines)
        ]
        try:
            yield self._new_outcomes(chunk.consumer)
            async for outcomes in call.stream(lambda: self._new_outcomes(chunk.consumer)):
                yield outcomes
            if call.loss is not None:
                await self._end.calls_may_end()
                raise GeneratorDiedError(str(call.loss)) from call.loss
        finally:
            for task in tasks:
                task.cancel()
            self._calls.discard(call)
            now_s = self._clock.monotonic()
            self._window.call_ended(chunk, now_s)
            tell_consumers(self._calls, self._window.consumers_with_news(now_s))

    def _start(self, answering: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(answering)
        # The loop itself holds tasks weakly, and these may outlive their call.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _new_outcomes(self, consumer: str) -> Outcomes:
        window_records = self._window.window_records(consumer, self._clock.monotonic())
        return Outcomes(self._replica, window_records)

    async def _answer(self, call: Call, index: int, line: bytes, deadline_ms: int | None) -> None:
        left_s = None if deadline_ms is None else (deadline_ms - self._clock.epoch_ms()) / 1000
        if left_s is not None and left_s <= 0:
            call.answer(index, STATUS_EXPIRED, b"")
            return
        limit = asyncio.timeout(left_s)
        try:
            async with limit:
                request = orjson.loads(line)
                answer = await self._model.answer(request["url"], request["body"])
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody cancelled this record: something inside the model was.
            call.answer(index, STATUS_FAILED, encode_failure_body(error))
        except ENDS_THE_TASK:
            raise
        except GeneratorDiedError as error:
            logger.error("the generator died: %s", error)  # noqa: TRY400 -- vLLM logged its trace
            self._die(error)
        except BaseException as error:
            if limit.expired():
                call.answer(index, STATUS_EXPIRED, b"")
                return
            logger.exception("the model failed on a record")
            call.answer(index, STATUS_FAILED, encode_failure_body(error))
        else:
            # The model may have taken the cancellation and answered all the same.
            status = STATUS_EXPIRED if limit.expired() else answer.status
            call.answer(index, status, answer.body, answer.tokens)

    def _raise_if_dead(self) -> None:
        if self._end.cause is not None:
            raise GeneratorDiedError(str(self._end.cause)) from self._end.cause

    def _die(self, error: GeneratorDiedError) -> None:
        self._end.die(error)
        for call in self._calls:
            call.give_up(error)
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()
