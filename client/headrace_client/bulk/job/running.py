"""The loop around the core: reads, publishes, takes results, writes and keeps checkpoints."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import orjson

from headrace_client.bulk.job.answers import ReadsAnswers
from headrace_client.bulk.job.chunks import Chunk, HeldRows, sizes
from headrace_client.bulk.job.reading import RowReader
from headrace_client.bulk.job.request_lines import WritesLines
from headrace_client.bulk.job.scanning import results_are_gone
from headrace_client.bulk.job.writing import RowWriter
from headrace_client.bulk.output.errors import ModelChangedError
from headrace_client.errors import ClientError, DeliveryError, UnreadableResultError
from headrace_client.jobs import Answer, Failure, Job, Request
from headrace_client.kafka.publishing import UNKNOWN_OFFSET, RequestPublisher
from headrace_client.kafka.reading import TopicReader, TopicRecord
from headrace_client.wire.names import Headers, Place
from headrace_client.wire.results import parse_result

CHECKPOINT_EVERY_S = 15.0
_READ_TIMEOUT_S = 0.25
_READ_RECORDS = 32
_MOST_WRITTEN_ITEMS = 4_096
_MOST_WRITTEN_BYTES = 4 * 1024 * 1024
"""At a time: what is being written is in memory beside what waits for it."""
_SEND_AGAIN_S = 0.05
_WRITE_AGAIN_S = 1.0
_SENT_AT_ONCE_REQUESTS = 16
_FLUSH_S = 5.0
_NAME_CHARACTERS = 2_048
"""A result's custom_id stands within so many bytes of its beginning."""


class BulkLoop:
    """Runs a job until it ends or is stopped.

    Args:
        job: The core, scanned and ready to send.
        wire_name: The job's name on the wire, with which its custom_ids begin.
        held: Rows that are not all written.
        reader: The input.
        writer: OUT.
        lines: Writes requests.
        answers: Reads results.
        publisher: The requests topic.
        results: The results topic, assigned from where to read on.
        headers: Of each request.
        note: What the checkpoint holds beside the core's and the writer's.
        say: Tells a person something.
    """

    def __init__(  # noqa: PLR0913 - each of them is one thing that a job needs
        self,
        *,
        job: Job,
        wire_name: str,
        held: HeldRows,
        reader: RowReader,
        writer: RowWriter,
        lines: WritesLines,
        answers: ReadsAnswers,
        publisher: RequestPublisher,
        results: TopicReader,
        headers: Headers,
        note: Callable[[], Mapping[str, Any]],
        say: Callable[[str], None],
    ) -> None:
        self._job = job
        self._wire_name = wire_name
        self._mark = orjson.dumps(wire_name)[:-1] + b"/"
        self._held = held
        self._reader = reader
        self._writer = writer
        self._lines = lines
        self._answers = answers
        self._publisher = publisher
        self._results = results
        self._headers = headers
        self._note = note
        self._say = say
        self._breaks = results.breaks
        self._ends_before: dict[int, int] = {}
        self._reading = ThreadPoolExecutor(1, "headrace-read")
        self._writing = ThreadPoolExecutor(1, "headrace-write")
        self._may_read = asyncio.Event()
        self._may_send = asyncio.Event()
        self._may_write = asyncio.Event()
        self._stopped = asyncio.Event()
        self._failure: Exception | None = None
        self._next_row = reader.rows_seen
        self._next_item = 0
        self._sequence = 0
        self._sent_at_s: dict[Request, float] = {}
        self._checkpoint_at_s = 0.0
        self._has_unkept = False
        self._is_writer_broken = False
        self.is_input_ended = False
        self.bytes_read = 0
        self.tokens = 0
        self.rows_kept = writer.rows_written
        """Rows that are durably written."""
        self.last_result_at_s = self._now()

    @property
    def rows_read(self) -> int:
        return self._reader.rows_seen

    @property
    def is_complete(self) -> bool:
        """All rows of the input are written."""
        return self.is_input_ended and not len(self._held) and not self._has_unkept

    def oldest_in_flight_s(self) -> float:
        """For how long the oldest request of this process has not been answered."""
        oldest = next(iter(self._sent_at_s.values()), None)
        return 0.0 if oldest is None else self._now() - oldest

    def stop(self) -> None:
        """End the loop soon, with a checkpoint of what has come."""
        self._stopped.set()

    def wake(self) -> None:
        """Look again whether anything is to be sent, as after a pause."""
        self._may_send.set()

    async def run(self) -> None:
        """Return once all is written, the core has ended, or ``stop`` was called.

        Raises what ends the job: ``ClientError`` with what to do.
        """
        self._checkpoint_at_s = self._now()
        self._next_item = self._job.items_read
        tasks = [
            asyncio.create_task(each, name=name)
            for name, each in (
                ("read", self._read()),
                ("send", self._send()),
                ("receive", self._receive()),
                ("write", self._write()),
                ("stop", self._until_stopped()),
            )
        ]
        try:
            await self._until_ended(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._end()

    async def _until_ended(self, tasks: list[asyncio.Task[None]]) -> None:
        reading, sending, receiving, writing, stopping = tasks
        going = {reading, sending, receiving, writing, stopping}
        while not writing.done() and not stopping.done():
            done, _ = await asyncio.wait(going, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            going -= done

    async def _end(self) -> None:
        """Write what has come, keep a checkpoint, and let threads and publisher go."""
        try:
            # What is on its way to the brokers may arrive all the same; the next scan finds it.
            with suppress(TimeoutError):
                async with asyncio.timeout(_FLUSH_S):
                    await self._publisher.flush()
            if not self._is_writer_broken:
                await self._write_turn()
                await self._keep_checkpoint()
        finally:
            await asyncio.to_thread(self._reading.shutdown)
            await asyncio.to_thread(self._writing.shutdown)

    async def _until_stopped(self) -> None:
        await self._stopped.wait()

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        ahead: asyncio.Future[Chunk | None] | None = None
        try:
            while True:
                while not self._has_room():
                    self._may_read.clear()
                    await self._may_read.wait()
                ahead = ahead or loop.run_in_executor(self._reading, self._reader.next_chunk)
                chunk = await ahead
                ahead = None
                if chunk is None:
                    break
                # The next one is read while this one is sent.
                ahead = loop.run_in_executor(self._reading, self._reader.next_chunk)
                self._take(chunk)
                await asyncio.sleep(0)
        finally:
            if ahead is not None:
                ahead.cancel()
        self._job.input_ended()
        self.is_input_ended = True
        self._may_send.set()
        self._may_write.set()

    def _has_room(self) -> bool:
        return self._job.items_wanted(has_room=self._held.has_room) > 0

    def _take(self, chunk: Chunk) -> None:
        job = self._job
        new = chunk.payloads[max(0, job.items_read - chunk.first_item) :]
        self._held.add(chunk)
        if new:
            job.add_items(sizes(new), self._now())
        if len(chunk):
            self._next_row = int(chunk.row_numbers[-1]) + 1
        self._next_item = max(self._next_item, chunk.end_item)
        self.bytes_read = chunk.bytes_read
        self._may_send.set()
        self._may_write.set()

    async def _send(self) -> None:
        sent = 0
        while True:
            request = self._job.next_request(self._now())
            if request is None:
                self._may_send.clear()
                # What was sent makes room, and what is to be sent again may have to be read first.
                self._may_read.set()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_SEND_AGAIN_S):
                        await self._may_send.wait()
                continue
            value = self._lines.line(request, self._held)
            self._sent_at_s[request] = self._now()
            future = self._publisher.publish(value, headers=self._headers)
            future.add_done_callback(partial(self._acknowledged, request))
            sent += 1
            if sent % _SENT_AT_ONCE_REQUESTS == 0:
                await asyncio.sleep(0)

    def _acknowledged(self, request: Request, future: asyncio.Future[Place]) -> None:
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            place = future.result()
            if place.offset != UNKNOWN_OFFSET:
                self._job.published(request, place.partition, place.offset, self._now())
            return
        if isinstance(error, DeliveryError):
            code = "request_too_large" if error.is_too_large else "request_refused"
            self._sent_at_s.pop(request, None)
            self._job.publish_failed(request, Failure.of(code, str(error)), self._now())
            self._may_send.set()
            self._may_write.set()
        elif not self._stopped.is_set() and self._failure is None:
            self._failure = error if isinstance(error, Exception) else ClientError(str(error))
            self._may_write.set()

    async def _receive(self) -> None:
        bounds = await self._results.bounds()
        self._ends_before = {number: each.end for number, each in bounds.items()}
        while True:
            records = await self._results.read(_READ_TIMEOUT_S, _READ_RECORDS)
            for record in records:
                self._take_result(record)
            if self._results.breaks != self._breaks:
                self._breaks = self._results.breaks
                self._send_again()
            for partition, position in self._results.positions.items():
                self._job.results_read(partition, position)
            if records:
                self._may_send.set()
                self._may_write.set()
                await asyncio.sleep(0)

    def _send_again(self) -> None:
        items = self._job.results_lost(self._results.positions)
        self._sent_at_s.clear()
        self._may_send.set()
        if items:
            self._say(results_are_gone(self._results.topic))

    def _take_result(self, record: TopicRecord) -> None:
        value = record.value
        if value is None or value.find(self._mark, 0, _NAME_CHARACTERS) < 0:
            return
        try:
            result = parse_result(value, record.headers)
        except UnreadableResultError:
            return
        request = Request.parse(result.custom_id, self._wire_name)
        if request is None:
            return
        self._sent_at_s.pop(request, None)
        self.last_result_at_s = self._now()
        try:
            outcome = self._answers.outcome(request, result)
        except ModelChangedError as error:
            if record.offset >= self._ends_before.get(record.partition, 0):
                raise
            # Of a former process, which it stopped. The model may be what it was by now.
            again = Failure("model_changed", str(error), retryable=True)
            self._job.publish_failed(request, again, self.last_result_at_s)
            return
        if isinstance(outcome, Answer):
            self.tokens += outcome.tokens
        self._job.answered(request, record.partition, record.offset, outcome, self.last_result_at_s)

    async def _write(self) -> None:
        while True:
            if self._failure is not None:
                raise self._failure
            await self._write_turn()
            is_all_written = self.is_input_ended and not len(self._held)
            since_s = self._now() - self._checkpoint_at_s
            if (
                self._writer.is_due
                or is_all_written
                or (self._has_unkept and since_s >= CHECKPOINT_EVERY_S)
            ):
                await self._keep_checkpoint()
            if self._job.state(self._now()).is_final or is_all_written:
                return
            self._may_write.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_WRITE_AGAIN_S):
                    await self._may_write.wait()

    async def _write_turn(self) -> None:
        """Write what may be written, until there is nothing more."""
        while True:
            pieces = self._job.take_writable(_MOST_WRITTEN_ITEMS, _MOST_WRITTEN_BYTES)
            for piece in pieces:
                self._held.note_outcomes(piece.first, piece.end)
            rows = self._held.take()
            if not pieces and not rows:
                return
            rest = self._held.start_of_rest()
            keep_from = self._next_item if rest is None else rest[1]
            # Noted first: a call that is cancelled here is carried out all the same.
            if pieces:
                self._sequence = pieces[-1].sequence
            self._has_unkept = True
            await self._in_writing_thread(self._writer.write, pieces, rows, keep_from)
            self._may_read.set()
            self._may_send.set()
            if self._writer.is_due:
                await self._keep_checkpoint()

    async def _keep_checkpoint(self) -> None:
        rest = self._held.start_of_rest()
        start_row, start_item = (self._next_row, self._next_item) if rest is None else rest
        written_rows = self._held.written_above(start_row)
        kept = await self._in_writing_thread(self._writer.finish_part)
        now = self._now()
        if self._sequence:
            self._job.written(self._sequence, now)
        body = {
            **self._note(),
            **kept,
            "core": self._job.checkpoint(now).to_dict(),
            "start_row": start_row,
            "start_item": start_item,
            "written_rows": written_rows,
            "rows_read": self._next_row,
        }
        await self._in_writing_thread(
            self._writer.save, body, lambda: {"items_numbered": self._reader.items_numbered}
        )
        self.rows_kept = kept["rows_written"]
        self._checkpoint_at_s = self._now()
        self._has_unkept = False

    async def _in_writing_thread(self, call: Callable[..., Any], *arguments: Any) -> Any:
        # Shielded: a part that is half written could not be written again.
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._writing, call, *arguments)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            self._is_writer_broken |= running.exception() is not None
            raise
        except Exception:
            self._is_writer_broken = True
            raise

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
