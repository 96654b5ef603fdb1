"""Chunks of request lines in, outcomes out: a text model's replica without Ray.

Threads overlap: one checks and tokenizes, one or several run the model, one writes response
bodies. The event loop owns everything else: pool, requests, calls. One task more forms batches
than run at a time, so that the next one stands ready when the model is done with another.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from handoff.chunk import STATUS_EXPIRED, STATUS_OK, Chunk, Outcomes
from handoff.clock import Clock
from schemas.settings.models import TextModelSettings
from serve_models.serving.call import (
    ENDS_THE_TASK,
    Call,
    encode_failure_body,
    status_of_failure,
    tell_consumers,
)
from serve_models.serving.engine_end import EngineEnd
from serve_models.serving.watchdog import Patience, Watchdog
from serve_models.text.batch_limits import BatchLimits
from serve_models.text.batching import TextPool, Waiting
from serve_models.text.endpoints.base import Endpoints, Refusal, TextRequest, respond_to
from serve_models.text.isolation import Isolated, TextFailure, cost_tokens, run_isolating
from serve_models.text.models.base import Rows, TextModel
from serve_models.text.models.tokenizing import TokenizedText
from serve_models.text.preparation import Preparation, Slice
from serve_models.text.token_budget import TokenBudget
from serve_models.text.window import TextWindow

logger = logging.getLogger(__name__)

_MOST_INTRODUCED = 1024
"""Names of consumers that are remembered; each start of one is a name of its own."""
_TOLD_EVERY_S = 60.0
_PATIENCE = Patience(least_s=60.0, first_s=600.0)


class EngineDiedError(RuntimeError):
    """The engine cannot go on; replace the replica. Its records can go to another."""


@dataclass(slots=True, eq=False)
class _Record:
    """A record under way."""

    call: Call
    index: int
    deadline_ms: int | None
    request: TextRequest[Any]


@dataclass(slots=True, eq=False)
class _Text:
    """One text of a record, as the pool holds it."""

    record: _Record
    position: int


class TextEngine:
    """Runs the texts of many calls in common batches.

    ``start``, ``stop`` and ``infer`` belong to one event loop.

    Args:
        model: Runs batches.
        endpoints: Make requests of lines, and response bodies of finished requests.
        settings: Budgets, limits and waits.
        replica: Names this replica in its outcomes.
        clock: Tells waits and deadlines.
        limits: How large batches are and how many run at a time.
        use_threads: Sets how many CPU threads the calling thread's batches get.
        on_death: As ``serve_models.serving.engine_end.EngineEnd`` calls it.
    """

    def __init__(
        self,
        model: TextModel,
        *,
        endpoints: Endpoints,
        settings: TextModelSettings,
        replica: str,
        clock: Clock,
        limits: BatchLimits,
        use_threads: Callable[[int], None],
        on_death: Callable[[], None] | None = None,
    ) -> None:
        self._model = model
        self._replica = replica
        self._clock = clock
        self._linger_s = settings.outcome_linger_ms / 1000
        self._pool: TextPool[_Text] = TextPool(
            limits.token_budget_tokens, limits.max_batch_texts, settings.max_wait_ms / 1000
        )
        self._window = TextWindow(settings.pool_texts, parallel_batches=limits.parallel_batches)
        self._budget = TokenBudget(limits.token_budget_tokens)
        self._memory_told_at_s = -_TOLD_EVERY_S
        self._limits = limits
        self._use_threads = use_threads
        self._batches_under_way: list[list[_Text]] = []
        self._preparation = Preparation(endpoints, clock, lambda: self._pool.tokens)
        self._introduced: set[str] = set()
        self._forwards = Watchdog(_PATIENCE)
        self._model_threads = ThreadPoolExecutor(limits.parallel_batches, "headrace-model")
        self._encoder_thread = ThreadPoolExecutor(1, "headrace-encoder")
        self._texts_wait = asyncio.Event()
        self._calls: set[Call] = set()
        self._runners: list[asyncio.Task[None]] = []
        self._end = EngineEnd(on_death)

    @property
    def too_large_batches(self) -> int:
        """How many batches, or parts of one, the device had no memory for so far."""
        return self._budget.too_large

    @property
    def waiting_texts(self) -> int:
        """Texts in the pool, not counting batches under way."""
        return len(self._pool)

    def start(self) -> None:
        """Start forming batches."""
        self._runners = [
            asyncio.create_task(self._run()) for _ in range(self._limits.parallel_batches + 1)
        ]

    async def stop(self) -> None:
        """Stop; calls that still wait end, so that their records go elsewhere."""
        for runner in self._runners:
            runner.cancel()
        await asyncio.gather(*self._runners, return_exceptions=True)
        stopped = EngineDiedError("the replica was stopped")
        self._end.stop(stopped)
        self._die(stopped)
        self._preparation.shut_down()
        for thread in (self._model_threads, self._encoder_thread):
            thread.shutdown(wait=False, cancel_futures=True)

    def check_health(self) -> None:
        """Return if the engine can go on.

        Raises:
            EngineDiedError: It cannot: its loop died, the model fails on whatever it is given, or
                a batch or the tokenizer hangs.
        """
        self._lose_what_hangs()
        if self._end.cause is not None:
            raise EngineDiedError(f"the text engine died: {self._end.cause}") from self._end.cause

    async def infer(self, chunk: Chunk) -> AsyncGenerator[Outcomes, None]:
        """Stream the outcomes of a chunk's records, each record exactly once.

        Closing the iterator early takes the chunk's waiting texts out of the pool.

        Where the engine dies or stops, the stream yields what is finished and raises, as one from
        a replica that was killed: the model has not failed on the other records. Those that a
        broken model was never given are turned away with ``STATUS_UNAVAILABLE`` instead, which
        counts against nobody.

        Raises:
            EngineDiedError: The engine died, before or now; other replicas may live.
        """
        self._lose_what_hangs()
        if self._end.cause is not None:
            await self._end.calls_may_end()
        self.check_health()
        self._window.call_started(chunk, self._clock.monotonic())
        call = Call(len(chunk.lines), self._linger_s, chunk.consumer)
        self._calls.add(call)
        places: list[Waiting[_Text]] = []
        feeding = asyncio.create_task(self._feed(call, chunk, places))
        try:
            is_introduced = chunk.consumer in self._introduced
            if is_introduced and self._window.has_news(chunk.consumer, self._clock.monotonic()):
                yield self._new_outcomes(chunk.consumer)
            async for outcomes in call.stream(lambda: self._new_outcomes(chunk.consumer)):
                yield outcomes
            if call.loss is not None:
                await self._end.calls_may_end()
                raise EngineDiedError(f"the text engine died: {call.loss}") from call.loss
        finally:
            feeding.cancel()
            self._calls.discard(call)
            self._pool.discard(places)
            self._preparation.pool_shrank()
            now_s = self._clock.monotonic()
            self._window.call_ended(chunk, now_s)
            tell_consumers(self._calls, self._window.consumers_with_news(now_s))

    def _new_outcomes(self, consumer: str) -> Outcomes:
        window_records = self._window.window_records(consumer, self._clock.monotonic())
        return Outcomes(self._replica, window_records)

    async def _feed(self, call: Call, chunk: Chunk, places: list[Waiting[_Text]]) -> None:
        """Check, tokenize and pool a chunk, slice by slice, as the pool has room."""
        start = 0
        try:
            while start < len(chunk.lines):
                prepared = await self._preparation.next_slice(call, chunk, start)
                self._pool_slice(call, chunk, prepared, places)
                start = prepared.stop
                self._introduce(call, chunk.consumer)
        except ENDS_THE_TASK:
            raise
        except BaseException as error:
            logger.exception("could not prepare a chunk of %d records", len(chunk.lines))
            call.fail_unanswered(error)

    def _pool_slice(
        self, call: Call, chunk: Chunk, prepared: Slice, places: list[Waiting[_Text]]
    ) -> None:
        for index in prepared.expired:
            call.answer(index, STATUS_EXPIRED, b"")
        now_s = self._clock.monotonic()
        requests = 0
        before = len(places)
        for index, request in zip(prepared.indexes, prepared.prepared, strict=True):
            if isinstance(request, Refusal):
                call.answer(index, request.status, request.body)
            elif call.waits_for(index):
                requests += 1
                record = _Record(call, index, chunk.deadline_ms(index), request)
                places.extend(
                    self._pool.add(_Text(record, position), text.tokens, now_s)
                    for position, text in enumerate(request.texts)
                )
        arrived = places[before:]
        self._window.records_arrived(requests, len(arrived), sum(place.tokens for place in arrived))
        self._texts_wait.set()

    def _introduce(self, call: Call, consumer: str) -> None:
        """Tell a new consumer the window once its first texts are known, before any is answered."""
        if consumer not in self._introduced:
            if len(self._introduced) >= _MOST_INTRODUCED:
                self._introduced.clear()
            self._introduced.add(consumer)
            call.tell()

    async def _run(self) -> None:
        """Form and run batches until the engine dies, which every waiter then learns."""
        try:
            while self._end.cause is None:
                batch = self._take_batch()
                if batch:
                    await self._run_batch(batch)
                else:
                    self._texts_wait.clear()
                    await self._texts_wait.wait()
        except ENDS_THE_TASK:
            raise
        except BaseException as error:
            logger.exception("the text engine died")
            self._die(error)

    def _take_batch(self) -> list[_Text]:
        """Take a batch of texts that somebody still waits for; expired records are answered."""
        while batch := self._pool.next_batch(self._clock.monotonic()):
            self._preparation.pool_shrank()
            wanted = []
            for text in batch:
                record = text.record
                if not record.call.waits_for(record.index):
                    continue
                if self._expired(record.deadline_ms):
                    record.call.answer(record.index, STATUS_EXPIRED, b"")
                else:
                    wanted.append(text)
            if wanted:
                return wanted
        return []

    async def _run_batch(self, batch: list[_Text]) -> None:
        loop = asyncio.get_running_loop()
        texts = [text.record.request.texts[text.position] for text in batch]
        self._batches_under_way.append(batch)
        # A batch that is alone has all threads; under a backlog each has its share.
        threads = self._limits.threads_for(len(self._batches_under_way) + bool(self._pool))
        try:
            isolated, duration_s, is_broken = await loop.run_in_executor(
                self._model_threads, self._run_model, texts, threads
            )
            if is_broken:
                self._lose_batches(
                    EngineDiedError("the model failed on a batch, and on a harmless text after it")
                )
                return
        finally:
            self._batches_under_way.remove(batch)
        self._learn(texts, isolated, duration_s)
        complete = []
        for text, row in zip(batch, isolated.rows, strict=True):
            record = text.record
            if isinstance(row, TextFailure):
                record.call.answer(record.index, row.status, encode_failure_body(row.reason))
            elif record.request.place(text.position, row):
                complete.append(record)
        if complete:
            await self._answer(complete)

    async def _answer(self, records: list[_Record]) -> None:
        bodies = await asyncio.get_running_loop().run_in_executor(
            self._encoder_thread, respond_to, [record.request for record in records]
        )
        for record, body in zip(records, bodies, strict=True):
            if isinstance(body, BaseException):
                status = status_of_failure(body)
                record.call.answer(record.index, status, encode_failure_body(body))
            else:
                record.call.answer(record.index, STATUS_OK, body)

    def _learn(self, texts: Sequence[TokenizedText], isolated: Isolated, duration_s: float) -> None:
        """Learn from a batch how fast the model is, and how large the next ones may be."""
        self._window.batch_finished(sum(text.tokens for text in texts), duration_s)
        if not isolated.too_large_tokens and not isolated.raised:
            self._budget.fitted(cost_tokens(texts))
        for too_large_tokens in isolated.too_large_tokens:
            self._budget.was_too_large(too_large_tokens)
        self._pool.token_budget_tokens = self._budget.tokens
        now_s = self._clock.monotonic()
        if isolated.too_large_tokens and now_s - self._memory_told_at_s >= _TOLD_EVERY_S:
            self._memory_told_at_s = now_s
            logger.warning(
                "out of memory: a batch of %d texts and %d tokens with padding was run in parts "
                "(%d times so far); batches have at most %d tokens of token_budget_tokens: %d for "
                "now; lower token_budget_tokens, or see what else holds the device's memory",
                len(texts),
                cost_tokens(texts),
                self._budget.too_large,
                self._budget.tokens,
                self._limits.token_budget_tokens,
            )

    def _run_model(
        self, texts: Sequence[TokenizedText], threads: int
    ) -> tuple[Isolated, float, bool]:
        self._use_threads(threads)
        started_s = self._clock.monotonic()
        isolated = run_isolating(self._forward, texts)
        duration_s = self._clock.monotonic() - started_s
        is_suspect = isolated.raised or isolated.has_only_failures
        return isolated, duration_s, is_suspect and self._model_is_broken()

    def _model_is_broken(self) -> bool:
        """Whether the model fails on a harmless text too, and not just on those it was given.

        After an error on a GPU that sticks, say, whatever runs there fails.
        """
        try:
            probe = self._model.probe()
        except ENDS_THE_TASK:
            raise
        except BaseException:  # noqa: BLE001 -- whatever it is, a model that cannot do this is broken
            return True
        return run_isolating(self._forward, [probe]).has_only_failures

    def _forward(self, texts: Sequence[TokenizedText]) -> Rows:
        key = object()
        self._forwards.began(key, self._clock.monotonic(), cost_tokens(texts))
        try:
            rows = self._model.run(texts)
        finally:
            self._forwards.finished(key, self._clock.monotonic())
        if rows.shape != (len(texts), self._model.width):
            raise ValueError(
                f"the model's output is of shape {rows.shape} for {len(texts)} texts "
                f"and a width of {self._model.width}"
            )
        return rows

    def _expired(self, deadline_ms: int | None) -> bool:
        return deadline_ms is not None and deadline_ms <= self._clock.epoch_ms()

    def _lose_what_hangs(self) -> None:
        forward_s = self._forwards.overdue_s(self._clock.monotonic())
        slice_s = self._preparation.overdue_s()
        if forward_s is not None:
            self._lose_batches(EngineDiedError(f"a batch has been running for {forward_s:.0f} s"))
        elif slice_s is not None:
            error = EngineDiedError(f"texts have been in the tokenizer for {slice_s:.0f} s")
            self._lose(self._preparation.under_way, error)

    def _lose_batches(self, error: BaseException) -> None:
        """Die of what the model was given."""
        batches = self._batches_under_way
        self._lose(
            [(text.record.call, text.record.index) for each in batches for text in each], error
        )

    def _lose(self, records: Iterable[tuple[Call, int]], error: BaseException) -> None:
        """Die of some records: these are lost, what waited beside them is another's to do."""
        lost: defaultdict[Call, set[int]] = defaultdict(set)
        for call, index in records:
            lost[call].add(index)
        for call in self._calls:
            call.turn_away(but=lost[call])
        self._die(error)

    def _die(self, error: BaseException) -> None:
        self._end.die(error)
        for call in self._calls:
            call.give_up(error)
