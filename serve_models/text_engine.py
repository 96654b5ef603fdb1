"""Chunks of request lines in, outcomes out: a text model's replica without Ray.

Threads overlap: one checks and tokenizes, one or several run the model, one writes response
bodies. The event loop owns everything else: pool, requests, calls. One task more forms batches
than run at a time, so that the next one stands ready when the model is done with another.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.handoff import STATUS_EXPIRED, STATUS_FAILED, STATUS_OK, Chunk, Outcomes
from schemas.model_settings import TextModelSettings
from serve_models.batch_limits import BatchLimits
from serve_models.batching import TextPool, Waiting
from serve_models.clock import Clock
from serve_models.outcomes import ENDS_THE_TASK, Call, encode_failure_body
from serve_models.text_model import Rows, TextModel
from serve_models.text_requests import Endpoints, Refusal, TextRequest, respond_to
from serve_models.tokenizing import TokenizedText
from serve_models.window import WindowEstimator

logger = logging.getLogger(__name__)

_PREPARED_TOGETHER_RECORDS = 64
"""A chunk is tokenized in slices, so that chunks take turns and the model starts on the first."""
_FAILED_BATCHES_TO_REPLACE = 3

Row = NDArray[np.float32]


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
    ) -> None:
        self._model = model
        self._replica = replica
        self._clock = clock
        self._linger_s = settings.outcome_linger_ms / 1000
        self._endpoints = endpoints
        self._pool: TextPool[_Text] = TextPool(
            limits.token_budget_tokens, limits.max_batch_texts, settings.max_wait_ms / 1000
        )
        self._window = WindowEstimator(
            settings.pool_texts, parallel_batches=limits.parallel_batches
        )
        self._limits = limits
        self._use_threads = use_threads
        self._batches_under_way = 0
        self._model_threads = ThreadPoolExecutor(limits.parallel_batches, "headrace-model")
        self._tokenizer_thread = ThreadPoolExecutor(1, "headrace-tokenizer")
        self._encoder_thread = ThreadPoolExecutor(1, "headrace-encoder")
        self._texts_wait = asyncio.Event()
        self._calls: set[Call] = set()
        self._runners: list[asyncio.Task[None]] = []
        self._death: BaseException | None = None
        self._failed_batches = 0

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
        self._die(EngineDiedError("the replica was stopped"))
        for thread in (self._model_threads, self._tokenizer_thread, self._encoder_thread):
            thread.shutdown(wait=False, cancel_futures=True)

    def check_health(self) -> None:
        """Return if the engine can go on.

        Raises:
            EngineDiedError: It cannot: its loop died, or the model fails on whatever it is given.
        """
        if self._death is not None:
            raise EngineDiedError(f"the text engine died: {self._death}") from self._death
        if self._failed_batches >= _FAILED_BATCHES_TO_REPLACE:
            raise EngineDiedError(
                f"the model failed on every text of its last {self._failed_batches} batches, "
                "and on a harmless one after each"
            )

    async def infer(self, chunk: Chunk) -> AsyncGenerator[Outcomes, None]:
        """Stream the outcomes of a chunk's records, each record exactly once.

        Closing the iterator early takes the chunk's waiting texts out of the pool.

        Where the engine dies or stops, the stream yields what is finished and raises, as one from
        a replica that was killed: the model has not failed on the other records.

        Raises:
            EngineDiedError: The engine died, before or now; other replicas may live.
        """
        if self._death is not None:
            raise EngineDiedError(f"the text engine died: {self._death}") from self._death
        self._window.consumer_seen(chunk.consumer, self._clock.monotonic())
        call = Call(len(chunk.lines), self._linger_s)
        self._calls.add(call)
        places: list[Waiting[_Text]] = []
        feeding = asyncio.create_task(self._feed(call, chunk, places))
        try:
            async for outcomes in call.stream(lambda: self._new_outcomes(chunk.consumer)):
                yield outcomes
            if call.loss is not None:
                raise EngineDiedError(f"the text engine died: {call.loss}") from call.loss
        finally:
            feeding.cancel()
            self._calls.discard(call)
            self._pool.discard(places)

    def _new_outcomes(self, consumer: str) -> Outcomes:
        now_s = self._clock.monotonic()
        self._window.consumer_seen(consumer, now_s)
        return Outcomes(self._replica, self._window.window_records(now_s))

    async def _feed(self, call: Call, chunk: Chunk, places: list[Waiting[_Text]]) -> None:
        """Check, tokenize and pool a chunk, slice by slice."""
        try:
            for start in range(0, len(chunk.lines), _PREPARED_TOGETHER_RECORDS):
                stop = min(start + _PREPARED_TOGETHER_RECORDS, len(chunk.lines))
                await self._feed_slice(call, chunk, range(start, stop), places)
        except ENDS_THE_TASK:
            raise
        except BaseException as error:
            logger.exception("could not prepare a chunk of %d records", len(chunk.lines))
            call.fail_unanswered(error)

    async def _feed_slice(
        self, call: Call, chunk: Chunk, indexes: range, places: list[Waiting[_Text]]
    ) -> None:
        alive = [index for index in indexes if not self._expired(chunk.deadline_ms(index))]
        for index in set(indexes).difference(alive):
            call.answer(index, STATUS_EXPIRED, b"")
        prepared = await asyncio.get_running_loop().run_in_executor(
            self._tokenizer_thread,
            self._endpoints.prepare,
            [chunk.lines[index] for index in alive],
            chunk.max_body_bytes,
        )
        now_s = self._clock.monotonic()
        requests = 0
        before = len(places)
        for index, request in zip(alive, prepared, strict=True):
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

    async def _run(self) -> None:
        """Form and run batches until the engine dies, which every waiter then learns."""
        try:
            while self._death is None:
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
        self._batches_under_way += 1
        # A batch that is alone has all threads; under a backlog each has its share.
        threads = self._limits.threads_for(self._batches_under_way + bool(self._pool))
        try:
            rows, duration_s, is_broken = await loop.run_in_executor(
                self._model_threads, self._run_model, texts, threads
            )
        finally:
            self._batches_under_way -= 1
        self._failed_batches = self._failed_batches + 1 if is_broken else 0
        self._window.batch_finished(sum(text.tokens for text in texts), duration_s)
        complete = []
        for text, row in zip(batch, rows, strict=True):
            record = text.record
            if isinstance(row, BaseException):
                record.call.answer(record.index, STATUS_FAILED, encode_failure_body(row))
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
                record.call.answer(record.index, STATUS_FAILED, encode_failure_body(body))
            else:
                record.call.answer(record.index, STATUS_OK, body)

    def _run_model(
        self, texts: Sequence[TokenizedText], threads: int
    ) -> tuple[list[Row | BaseException], float, bool]:
        self._use_threads(threads)
        started_s = self._clock.monotonic()
        rows = run_isolating(self._model, texts)
        duration_s = self._clock.monotonic() - started_s
        has_failed = all(isinstance(row, BaseException) for row in rows)
        return rows, duration_s, has_failed and self._model_is_broken()

    def _model_is_broken(self) -> bool:
        """Whether the model fails on a harmless text too, and not just on those it was given."""
        return isinstance(run_isolating(self._model, [self._model.probe()])[0], BaseException)

    def _expired(self, deadline_ms: int | None) -> bool:
        return deadline_ms is not None and deadline_ms <= self._clock.epoch_ms()

    def _die(self, error: BaseException) -> None:
        self._death = self._death or error
        for call in self._calls:
            call.give_up(error)


def run_isolating(model: TextModel, texts: Sequence[TokenizedText]) -> list[Row | BaseException]:
    """Run a batch; where that fails, halve it until only the texts at fault are without a row.

    Returns:
        For each text its row, float32 [width], or the error that it met alone.
    """
    try:
        rows = _run_together(model, texts)
    except ENDS_THE_TASK:
        raise
    except BaseException as error:  # noqa: BLE001 -- a model may raise anything; each waiter is answered
        if len(texts) == 1:
            return [error]
        half = len(texts) // 2
        return run_isolating(model, texts[:half]) + run_isolating(model, texts[half:])
    finite = np.all(np.isfinite(rows), axis=1)
    return [
        row if is_finite else ValueError("the model's output holds NaN or infinity")
        for row, is_finite in zip(rows, finite.tolist(), strict=True)
    ]


def _run_together(model: TextModel, texts: Sequence[TokenizedText]) -> Rows:
    rows = model.run(texts)
    if rows.shape != (len(texts), model.width):
        raise ValueError(
            f"the model's output is of shape {rows.shape} for {len(texts)} texts "
            f"and a width of {model.width}"
        )
    return rows
