"""Does one round of a job: connects, goes on where it was, runs the loop."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from headrace_client.bulk.job.answers import BodyAnswersOf, ReadsAnswers, VectorAnswersOf
from headrace_client.bulk.job.chunks import HeldRows, Numbers
from headrace_client.bulk.job.deadlines import deadline_ms
from headrace_client.bulk.job.options import BulkOptions
from headrace_client.bulk.job.plan import Plan
from headrace_client.bulk.job.progress.announcing import Announcements
from headrace_client.bulk.job.progress.display import Display
from headrace_client.bulk.job.progress.reporting import About, Commands, Reporter
from headrace_client.bulk.job.progress.watching import Watch, looking
from headrace_client.bulk.job.reading import RowReader, Selection
from headrace_client.bulk.job.reply_topics import delete_own_topic, find_results_topic
from headrace_client.bulk.job.request_lines import GroupedTexts, WholeBodies, WritesLines
from headrace_client.bulk.job.rounds import Round
from headrace_client.bulk.job.running import BulkLoop
from headrace_client.bulk.job.scanning import begin, core_of, go_on
from headrace_client.bulk.job.service import Service
from headrace_client.bulk.job.state.checkpoints import CheckpointStore
from headrace_client.bulk.job.state.failed_items import FailedItems
from headrace_client.bulk.job.writing import RowWriter
from headrace_client.bulk.output.ending import Ending
from headrace_client.bulk.output.failed import read_failed
from headrace_client.bulk.output.parts import Part, PartWriter
from headrace_client.bulk.output.stores import BodyBuffer, BodyStore, VectorBuffer, VectorStore
from headrace_client.bulk.output.vectors import VectorDecoder
from headrace_client.bulk.rows.seen import CustomIds, SeenItems
from headrace_client.clock import epoch_ms
from headrace_client.jobs import Checkpoint, Job, JobSettings, JobState, RangeSet, Window
from headrace_client.kafka.publishing import RequestPublisher
from headrace_client.kafka.reading import TopicReader
from headrace_client.registry.announcements import Announcement, State
from headrace_client.wire.requests import request_headers

_FETCH_BYTES = 4 * 1024 * 1024
_SPAN_REQUESTS = 8
"""A job sends so many windows ahead of what is written: one slow request must not stop it."""
_ROWS_BYTES = 256 * 1024
_ANSWERS_BYTES = 128 * 1024
"""What rows and answers in memory may take, for each request of the window."""
_LEAST_HELD_BYTES = 8 * 1024 * 1024
"""Rows are read some mebibytes at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a round ended.

    Attributes:
        is_complete: All rows have their outcomes.
        state: Of the core.
        parts: What was written.
        rows_written, rows_read: Of the job so far.
        elapsed_s, rows_per_s: Of this run.
        gave_up_waiting: What nobody answered, with ``--no-wait``.
    """

    is_complete: bool
    state: JobState
    parts: list[Part]
    rows_written: int
    rows_read: int
    elapsed_s: float
    rows_per_s: float
    gave_up_waiting: str | None = None


class RoundRunner:
    """Does one round of a job."""

    def __init__(
        self,
        *,
        options: BulkOptions,
        plan: Plan,
        service: Service,
        job_id: str,
        this_round: Round,
        store: CheckpointStore,
        ending: Ending,
        state_directory: Path,
        display: Display,
        announcement: Announcement,
    ) -> None:
        self._options = options
        self._plan = plan
        self._service = service
        self._job_id = job_id
        self._round = this_round
        self._store = store
        self._ending = ending
        self._state_directory = state_directory
        self._display = display
        self._announcement = announcement
        self._wire_name = this_round.wire_name(job_id)
        self._results_topic = service.route.results_topic
        self._topic_ids: dict[str, str] = {}
        # Items of lines have names of their own, but what they send may be the same.
        self._seen = SeenItems(store.connection) if options.dedupe else None
        self._failed = FailedItems(store.connection if options.dedupe else None, store.lock)

    async def run(self) -> Outcome:
        """Return when the round is complete or was stopped; raises ``ClientError``."""
        clock = asyncio.get_running_loop().time
        kept = self._round.checkpoint
        self._results_topic = await find_results_topic(
            self._service.results,
            self._service.route,
            self._wire_name,
            kept=None if kept is None else kept["topics"]["results"],
            say=self._display.say,
        )
        checkpoint = core_of(kept, self._topics())
        writer = self._writer(checkpoint)
        rows_before = writer.rows_written
        service, route = self._service, self._service.route
        async with AsyncExitStack() as open_ones:
            open_ones.callback(writer.close)
            results = TopicReader(service.results, self._results_topic, fetch_bytes=_FETCH_BYTES)
            await open_ones.enter_async_context(results)
            publisher = RequestPublisher(service.connection, route.requests_topic)
            await publisher.start()
            open_ones.push_async_callback(publisher.close)
            job = await self._begun(checkpoint, results, clock)
            loop = self._loop(job, writer, publisher, results, checkpoint)
            if checkpoint is None:
                # Before anything is published: a crash must find where to look for it.
                await asyncio.to_thread(
                    writer.save,
                    {**self._note(), "core": job.checkpoint(clock()).to_dict()},
                    lambda: {"items_numbered": 0},
                )
            announcements = await open_ones.enter_async_context(
                Announcements(service.connection, service.jobs_topic, self._announcement)
            )
            reporter = self._reporter(job, loop, writer, announcements, clock)
            reporting = asyncio.create_task(reporter.run())
            try:
                with _stopping(loop.stop):
                    await loop.run()
            finally:
                reporting.cancel()
                await asyncio.gather(reporting, return_exceptions=True)
                last = replace(reporter.report(), state=_state(job, loop, writer, clock()))
                self._display.show(last)
                announcements(last)
        if loop.is_complete and self._results_topic != route.results_topic:
            await delete_own_topic(service.results, self._results_topic, self._display.say)
        report = reporter.report()
        return Outcome(
            is_complete=loop.is_complete,
            state=job.state(clock()),
            parts=writer.parts,
            rows_written=writer.rows_written,
            rows_read=loop.rows_read,
            elapsed_s=report.elapsed_s,
            rows_per_s=(writer.rows_written - rows_before) / max(report.elapsed_s, 1e-3),
            gave_up_waiting=reporter.gave_up_waiting,
        )

    async def _begun(
        self, checkpoint: Checkpoint | None, results: TopicReader, clock: Callable[[], float]
    ) -> Job:
        connection, topic = self._service.connection, self._service.route.requests_topic
        async with TopicReader(connection, topic) as requests:
            kept = (self._round.checkpoint or {}).get("topic_ids", {})
            self._topic_ids = {"requests": requests.topic_id, "results": results.topic_id}
            settings = self._job_settings(clock())
            if checkpoint is None:
                return await begin(settings, requests, results)
            return await go_on(
                settings,
                checkpoint,
                requests,
                results,
                new_topics={
                    each for each, now in self._topic_ids.items() if now != (kept.get(each) or now)
                },
                wire_name=self._wire_name,
                say=self._display.say,
            )

    def _topics(self) -> dict[str, str]:
        route = self._service.route
        return {
            "bootstrap": self._service.connection.bootstrap,
            "requests": route.requests_topic,
            "results": self._results_topic,
        }

    def _note(self) -> dict[str, Any]:
        return {
            **self._round.note(),
            "topics": self._topics(),
            "topic_ids": self._topic_ids,
            "inputs": self._plan.inputs_digest,
        }

    def _writer(self, checkpoint: Checkpoint | None) -> RowWriter:
        kept, plan = self._round.checkpoint, self._plan
        folder = self._state_directory
        has_vectors = plan.dtype is not None
        answers: Any
        if self._seen is None:
            answers = VectorBuffer() if has_vectors else BodyBuffer()
        else:
            answers = BodyStore(folder) if plan.dtype is None else VectorStore(folder, plan.dtype)
        parts = PartWriter(
            plan.layout(self._job_id),
            folder,
            dimensions=None if self._round.number == 1 else self._ending.out_dimensions(),
            rows_expected=plan.source.rows_total,
        )
        writer = RowWriter(parts, answers, self._failed, self._store, has_vectors=has_vectors)
        writer.recover(kept)
        self._failed.recover(RangeSet(() if checkpoint is None else checkpoint.written))
        return writer

    def _job_settings(self, now_s: float) -> JobSettings:
        options, deadline_s = self._options, None
        if options.deadline is not None:
            now_ms = epoch_ms()
            deadline_s = now_s + (deadline_ms(options.deadline, now_ms) - now_ms) / 1_000
        rows = options.batch_rows if self._plan.is_grouped else 1
        items = rows * options.window_requests
        return JobSettings(
            ordered=options.ordered,
            request_items=rows,
            request_bytes=options.batch_bytes,
            deadline=deadline_s,
            window=Window(
                requests=options.window_requests,
                items=items,
                bytes=options.batch_bytes * options.window_requests,
                span_items=items * _SPAN_REQUESTS,
                result_bytes=_ANSWERS_BYTES * options.window_requests,
            ),
        )

    def _loop(
        self,
        job: Job,
        writer: RowWriter,
        publisher: RequestPublisher,
        results: TopicReader,
        checkpoint: Checkpoint | None,
    ) -> BulkLoop:
        kept, options = self._round.checkpoint or {}, self._options
        held = HeldRows(
            ordered=options.ordered,
            items_taken=0 if checkpoint is None else checkpoint.items_written,
            written_rows=[(first, end) for first, end in kept.get("written_rows", ())],
            most_bytes=max(_LEAST_HELD_BYTES, _ROWS_BYTES * options.window_requests),
        )
        for first, end in () if checkpoint is None else checkpoint.written_above:
            held.note_outcomes(first, end)
        return BulkLoop(
            job=job,
            wire_name=self._wire_name,
            held=held,
            reader=self._reader(kept),
            writer=writer,
            lines=self._lines(),
            answers=self._answers(writer),
            publisher=publisher,
            results=results,
            headers=request_headers(
                job=self._job_id,
                job_weight=options.weight,
                reply_topic=None
                if self._results_topic == self._service.route.results_topic
                else self._results_topic,
                deadline_ms=None
                if options.deadline is None
                else deadline_ms(options.deadline, epoch_ms()),
            ),
            note=self._note,
            say=self._display.say,
        )

    def _reader(self, kept: Any) -> RowReader:
        store, this_round = self._store, self._round
        only: Numbers | None = None
        if this_round.number > 1:
            only = self._rows_again()
        first = this_round.from_row if only is None or not len(only) else int(only[0])
        return RowReader(
            self._plan.source,
            self._plan.renderer,
            Selection(
                start_row=kept.get("start_row", min(first, this_round.from_row)),
                end_row=self._options.limit,
                only=only,
                all_from=this_round.from_row,
                next_item=kept.get("start_item", 0),
                items_numbered=kept.get("items_numbered", 0),
            ),
            seen=self._seen,
            custom_ids=CustomIds(store.connection) if self._options.kind == "run" else None,
            lock=store.lock,
        )

    def _rows_again(self) -> Numbers:
        if not self._round.retries_failed:
            return np.empty(0, dtype=np.int64)
        failed = read_failed(self._ending.failed_file())
        return np.fromiter((each.row for each in failed), dtype=np.int64)

    def _lines(self) -> WritesLines:
        if self._plan.is_grouped:
            return GroupedTexts(self._wire_name, self._plan.url, self._plan.parameters)
        return WholeBodies(self._wire_name, self._plan.url)

    def _answers(self, writer: RowWriter) -> ReadsAnswers:
        if self._plan.dtype is None:
            return BodyAnswersOf()
        return VectorAnswersOf(VectorDecoder(self._plan.dtype, writer.dimensions))

    def _reporter(
        self,
        job: Job,
        loop: BulkLoop,
        writer: RowWriter,
        announce: Commands,
        clock: Callable[[], float],
    ) -> Reporter:
        service, source = self._service, self._plan.source
        total = source.rows_total
        if total is not None and self._options.limit is not None:
            total = min(total, self._options.limit)
        if self._round.number > 1:
            total = None
        topic = service.route.requests_topic
        return Reporter(
            About(
                name=self._job_id,
                rows_total=total,
                bytes_total=source.bytes_total,
                broker=service.connection.bootstrap,
                requests_topic=topic,
                waits=self._options.wait,
            ),
            job=job,
            loop=loop,
            writer=writer,
            display=self._display,
            watch=Watch(looking(service.connection, topic, service.route.group), clock),
            announce=announce,
            clock=clock,
        )


def _state(job: Job, loop: BulkLoop, writer: RowWriter, now_s: float) -> str:
    state = job.state(now_s)
    if not loop.is_complete:
        # Whatever it was doing: nothing goes on with it now.
        is_told = state in {JobState.CANCELLED, JobState.EXPIRED}
        return state.value if is_told else State.INTERRUPTED.value
    return (State.PARTIAL if writer.rows_failed else State.DONE).value


@contextmanager
def _stopping(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` on the first SIGINT or SIGTERM; a second one ends the process as ever."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def on_signal() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)
        stop()

    for number in numbers:
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
