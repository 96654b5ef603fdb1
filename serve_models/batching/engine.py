"""Runs the records of many calls in common batches. No Ray here.

Threads overlap: one checks and prepares records, one or several run the model, one writes response
bodies. The event loop owns everything else: pool, requests, calls. One more task forms batches than
batches run at a time, so that the next batch is ready when the model finishes another.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from handoff.chunk import STATUS_EXPIRED, STATUS_OK
from handoff.exporting import Readings
from serve_models.batching.forward_cost import ForwardCost
from serve_models.batching.isolation import Isolated, cost_tokens, run_isolating
from serve_models.batching.limits import BatchLimits
from serve_models.batching.own_time import OwnTime
from serve_models.batching.pool import Pool, Waiting
from serve_models.batching.preparation import Preparation, Slice
from serve_models.batching.token_budget import TokenBudget, worthwhile_tokens
from serve_models.batching.window import BatchWindow
from serve_models.batching.work import BatchModel, Item, Request, RequestReader
from serve_models.chunks.call import Call
from serve_models.chunks.chunk_server import ChunkServer, Host, ReplicaLostError
from serve_models.chunks.failures import ENDS_THE_PROCESS, ENDS_THE_TASK, Refusal
from serve_models.chunks.watchdog import Patience, Watchdog
from serve_models.measuring.batches import BatchCounts

logger = logging.getLogger(__name__)

_REPORTED_EVERY_S = 60.0
_TIMED_EVERY_BATCHES = 64
_PATIENCE = Patience(least_s=60.0, first_s=600.0)


@dataclass(slots=True, eq=False)
class _Record:
    call: Call
    index: int
    request: Request
    arrived_at_s: float


class _Ran(NamedTuple):
    """A batch that has run; ``own_s`` is without the wait behind others on the device."""

    isolated: Isolated
    started_at_s: float
    duration_s: float
    own_s: float
    is_broken: bool


@dataclass(slots=True, eq=False)
class _Text:
    record: _Record
    position: int


class BatchEngine(ChunkServer):
    """Runs the texts of many calls in common batches.

    A "text" is one item of a record, whatever the model makes of it. ``use_threads`` sets how many
    CPU threads the calling thread's batches get; ``patience`` also limits a slice in preparation.
    As many threads as ``reader_threads`` call the reader's ``prepare`` and as many ``respond``.
    """

    def __init__(
        self,
        model: BatchModel,
        reader: RequestReader,
        *,
        limits: BatchLimits,
        host: Host,
        outcome_linger_ms: float,
        use_threads: Callable[[int], None] = lambda _threads: None,
        patience: Patience = _PATIENCE,
        reader_threads: int = 1,
    ) -> None:
        self._estimator = BatchWindow(limits.pool_texts, parallel_batches=limits.parallel_batches)
        super().__init__(host, self._estimator, outcome_linger_ms)
        self._model = model
        self._reader = reader
        self._limits = limits
        self._pool: Pool[_Text] = Pool(
            limits.token_budget_tokens, limits.max_batch_texts, limits.max_wait_ms / 1000
        )
        self._places: dict[Call, list[Waiting[_Text]]] = {}
        self._budget = TokenBudget(limits.token_budget_tokens, limits.least_budget_tokens)
        self._cost = ForwardCost()
        self._own_time = OwnTime(queues=limits.queues)
        self._probe: Item | None = None
        self._batches_until_timed = _TIMED_EVERY_BATCHES // 4
        self._memory_reported_at_s = -_REPORTED_EVERY_S
        self._use_threads = use_threads
        self._running: list[list[_Text]] = []
        self._batches = BatchCounts()
        self._preparation = Preparation(
            reader,
            self._clock,
            patience,
            pool_tokens=lambda: self._pool.tokens if limits.holds_tokens else 0,
            threads=reader_threads,
        )
        self._forwards = Watchdog(patience)
        self._model_threads = ThreadPoolExecutor(limits.parallel_batches, "headrace-model")
        self._encoder_threads = ThreadPoolExecutor(reader_threads, "headrace-encoder")
        self._texts_wait = asyncio.Event()

    @property
    def too_large_batches(self) -> int:
        return self._budget.too_large

    @property
    def waiting_texts(self) -> int:
        return len(self._pool)

    def readings(self) -> Readings:
        of_calls = super().readings()
        return Readings(
            counters={**of_calls.counters, **self._batches.counters(self._clock.monotonic())},
            gauges={
                **of_calls.gauges,
                "model_waiting_texts": len(self._pool),
                "model_waiting_tokens": self._pool.tokens,
                "model_token_budget_tokens": self._pool.token_budget_tokens,
            },
            histograms=self._batches.histograms(),
        )

    def start(self) -> None:
        for _ in range(self._limits.parallel_batches + 1):
            self._start(self._run_batches)

    def reconfigure(self, reader: RequestReader, limits: BatchLimits) -> None:
        """Use another reader and other batch sizes from now on; as many run at a time as before.

        Records that are prepared already keep the requests of the old reader.
        """
        self._reader = self._preparation.reader = reader
        if limits.budget_limits != self._limits.budget_limits:
            self._budget = TokenBudget(limits.token_budget_tokens, limits.least_budget_tokens)
        self._limits = limits
        self._pool.token_budget_tokens = self._budget.tokens
        self._pool.max_batch_texts = limits.max_batch_texts
        self._pool.max_wait_s = limits.max_wait_ms / 1000

    def _begin(self, call: Call) -> None:
        self._places[call] = []
        self._start(partial(self._feed, call), call)

    def _release(self, call: Call) -> None:
        self._pool.discard(self._places.pop(call))
        self._preparation.pool_shrank()

    def _reports_first(self, call: Call) -> bool:
        # A new consumer's window depends on its texts, and is reported when they are known.
        return self._estimator.has_granted(call.chunk.consumer) and super()._reports_first(call)

    def _check_alive(self) -> None:
        forward_s = self._forwards.overdue_s(self._clock.monotonic())
        slice_s = self._preparation.overdue_s()
        if forward_s is not None:
            self._lose_batches(ReplicaLostError(f"a batch has been running for {forward_s:.0f} s"))
        elif slice_s is not None:
            error = ReplicaLostError(f"texts have been in the tokenizer for {slice_s:.0f} s")
            self._lose(self._preparation.under_way, error)

    def _shut_down(self) -> None:
        self._preparation.shut_down()
        for thread in (self._model_threads, self._encoder_threads):
            thread.shutdown(wait=False, cancel_futures=True)

    async def _feed(self, call: Call) -> None:
        start, stop = 0, len(call.chunk.lines)
        try:
            while start < stop:
                prepared = await self._preparation.next_slice(call, start)
                self._pool_slice(call, prepared)
                start = prepared.stop
                if not self._estimator.has_granted(call.chunk.consumer):
                    call.carry()
        except (*ENDS_THE_TASK, ReplicaLostError):
            raise
        except BaseException as error:
            logger.exception(
                "could not prepare a chunk of %d records",
                stop,
                extra={"event": "record_failed_in_model", "records": stop},
            )
            call.fail_unanswered(error)

    def _pool_slice(self, call: Call, prepared: Slice) -> None:
        for index in prepared.expired:
            call.answer(index, STATUS_EXPIRED, b"")
        now_s = self._clock.monotonic()
        self._batches.sliced(prepared.duration_s, prepared.truncated_texts)
        requests = 0
        arrived: list[Waiting[_Text]] = []
        for index, request in zip(prepared.indexes, prepared.prepared, strict=True):
            if isinstance(request, Refusal):
                call.answer(index, request.status, request.body)
            elif call.waits_for(index):
                requests += 1
                record = _Record(call, index, request, now_s)
                arrived.extend(
                    self._pool.add(_Text(record, position), text.tokens, now_s)
                    for position, text in enumerate(request.texts)
                )
        self._places[call] += arrived
        self._estimator.records_arrived(
            requests, len(arrived), sum(place.tokens for place in arrived)
        )
        self._texts_wait.set()

    async def _run_batches(self) -> None:
        while self._lost is None:
            batch = self._take_batch()
            if batch:
                await self._run_batch(batch)
            else:
                self._texts_wait.clear()
                await self._texts_wait.wait()

    def _take_batch(self) -> list[_Text]:
        """Take a batch of texts that a call still waits for; answer expired records."""
        while batch := self._pool.next_batch(self._clock.monotonic()):
            self._preparation.pool_shrank()
            wanted = []
            for text in batch:
                call, index = text.record.call, text.record.index
                if call.waits_for(index) and not self._expire_if_late(call, index):
                    wanted.append(text)
            if wanted:
                return wanted
        return []

    async def _run_batch(self, batch: list[_Text]) -> None:
        loop = asyncio.get_running_loop()
        items = [text.record.request.texts[text.position] for text in batch]
        self._running.append(batch)
        # A batch that runs alone has all threads; under a backlog each has its share.
        threads = self._limits.threads_for(len(self._running) + bool(self._pool))
        try:
            ran = await loop.run_in_executor(self._model_threads, self._run_model, items, threads)
            if ran.is_broken:
                self._lose_batches(
                    ReplicaLostError("the model failed on a batch, and on a harmless text after it")
                )
                return
        finally:
            self._running.remove(batch)
        tokens = [item.tokens for item in items]
        self._estimator.batch_finished(sum(tokens), ran.duration_s)
        self._batches.ran(
            tokens,
            [text.record.arrived_at_s for text in batch],
            started_at_s=ran.started_at_s,
            duration_s=ran.duration_s,
            is_padded=self._limits.pads,
        )
        self._learn(items, ran.isolated, ran.own_s, threads)
        complete = []
        for text, row in zip(batch, ran.isolated.rows, strict=True):
            record = text.record
            if isinstance(row, Refusal):
                record.call.answer(record.index, row.status, row.body)
            elif record.request.place(text.position, row):
                complete.append(record)
        if complete:
            await self._answer(complete)
        if self._batches_until_timed <= 0:
            self._batches_until_timed = _TIMED_EVERY_BATCHES
            await self._learn_from_probe(threads)

    async def _answer(self, records: list[_Record]) -> None:
        bodies = await asyncio.get_running_loop().run_in_executor(
            self._encoder_threads, self._reader.respond, [record.request for record in records]
        )
        for record, body in zip(records, bodies, strict=True):
            if isinstance(body, Refusal):
                record.call.answer(record.index, body.status, body.body)
            else:
                record.call.answer(record.index, STATUS_OK, body)

    def _learn(self, items: Sequence[Item], isolated: Isolated, own_s: float, threads: int) -> None:
        if not isolated.too_large_tokens and not isolated.raised:
            self._budget.fitted(cost_tokens(items))
            # With more threads than under a backlog a batch is quicker, and mostly small.
            if threads == self._limits.threads_for(self._limits.parallel_batches):
                self._learn_cost(items, own_s)
        for too_large_tokens in isolated.too_large_tokens:
            self._budget.was_too_large(too_large_tokens)
        self._pool.token_budget_tokens = self._budget.tokens
        now_s = self._clock.monotonic()
        self._batches.split_batches += bool(isolated.too_large_tokens)
        if isolated.too_large_tokens and now_s - self._memory_reported_at_s >= _REPORTED_EVERY_S:
            self._memory_reported_at_s = now_s
            name = self._limits.budget_name
            logger.warning(
                "out of memory: a batch of %d texts and %d tokens with padding was run in parts "
                "(%d times so far); batches have at most %d tokens of %s: %d for now; lower %s, "
                "or see what else holds the device's memory",
                len(items),
                cost_tokens(items),
                self._budget.too_large,
                self._budget.tokens,
                name,
                self._limits.budget_setting,
                name,
                extra={
                    "event": "batch_out_of_memory",
                    "texts": len(items),
                    "tokens": cost_tokens(items),
                    "budget_tokens": self._budget.tokens,
                },
            )

    def _learn_cost(self, items: Sequence[Item], own_s: float) -> None:
        self._cost.batch_finished(cost_tokens(items), own_s)
        self._batches_until_timed -= 1
        fixed_tokens = self._pool.fixed_tokens = self._cost.fixed_tokens
        limits = self._limits
        if limits.most_budget_tokens:
            self._budget.set_most(
                worthwhile_tokens(
                    fixed_tokens, limits.token_budget_tokens, limits.most_budget_tokens
                )
            )

    def _run_model(self, items: Sequence[Any], threads: int) -> _Ran:
        self._use_threads(threads)
        started_s = self._clock.monotonic()
        self._batches.busy.began(started_s)
        try:
            isolated = run_isolating(self._forward, items)
        finally:
            now_s = self._clock.monotonic()
            self._batches.busy.ended(now_s)
        own_s = self._own_time.finished(started_s, now_s)
        is_suspect = isolated.raised or isolated.has_only_failures
        is_broken = is_suspect and self._model_is_broken()
        return _Ran(isolated, started_s, now_s - started_s, own_s, is_broken)

    async def _learn_from_probe(self, threads: int) -> None:
        """Learn from a harmless text alone: full batches cannot tell what small ones cost.

        It takes what is fixed of a pass, a ninth of a full batch or less, and is seldom.
        """
        loop = asyncio.get_running_loop()
        own_s = await loop.run_in_executor(self._model_threads, self._time_probe, threads)
        if own_s is not None and self._probe is not None:
            self._cost.batch_finished(self._probe.tokens, own_s)

    def _time_probe(self, threads: int) -> float | None:
        self._use_threads(threads)
        try:
            if self._probe is None:
                self._probe = self._model.probe()
            if self._probe is None:
                return None
            started_s = self._clock.monotonic()
            self._forward([self._probe])
            return self._own_time.finished(started_s, self._clock.monotonic())
        except ENDS_THE_PROCESS:
            raise
        except BaseException:
            # The next batch tells whether the model is well.
            logger.debug("a harmless text could not be timed", exc_info=True)
            return None

    def _model_is_broken(self) -> bool:
        """Whether the model fails on a harmless text too, and not just on its batch.

        For example, after a sticky GPU error everything that runs there fails.
        """
        try:
            probe = self._model.probe()
        except ENDS_THE_PROCESS:
            raise
        except BaseException:  # noqa: BLE001 -- whatever it is, a model that cannot do this is broken
            return True
        return probe is not None and run_isolating(self._forward, [probe]).has_only_failures

    def _forward(self, items: Sequence[Any]) -> Sequence[Any]:
        key = object()
        self._forwards.began(key, self._clock.monotonic(), cost_tokens(items))
        try:
            return self._model.run(items)
        finally:
            self._forwards.finished(key, self._clock.monotonic())

    def _lose_batches(self, error: ReplicaLostError) -> None:
        texts = [text for batch in self._running for text in batch]
        self._lose([(text.record.call, text.record.index) for text in texts], error)

    def _lose(self, records: Iterable[tuple[Call, int]], error: ReplicaLostError) -> None:
        """Die of some records: these are lost, the others are sent elsewhere."""
        lost: defaultdict[Call, set[int]] = defaultdict(set)
        for call, index in records:
            lost[call].add(index)
        for call in self._calls:
            call.turn_away(but=lost[call])
        self._die(error)
