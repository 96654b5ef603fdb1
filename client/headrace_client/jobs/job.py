"""A job: what to send, what to write, what may be checkpointed."""

from collections.abc import Iterable, Sequence

from headrace_client.jobs.checkpoints import Checkpoint
from headrace_client.jobs.flight import Flight
from headrace_client.jobs.offsets import OffsetLedger, Unacknowledged
from headrace_client.jobs.outcomes import Failure, Outcome, Piece
from headrace_client.jobs.ranges import RangeSet
from headrace_client.jobs.rates import Rates
from headrace_client.jobs.requests import Request
from headrace_client.jobs.settings import JobSettings
from headrace_client.jobs.sizes import ItemSizes
from headrace_client.jobs.states import JobState, Progress, WaitsFor
from headrace_client.jobs.writing import Writing


class JobError(Exception):
    """The shell or the topics say what cannot be true of this job."""


class Job:
    """The decisions of one job: pure, synchronous, without a clock.

    A shell reads items, publishes requests, reads results, writes outcomes and keeps checkpoints;
    the job says what is next. A shell that begins, or goes on after a crash, does this:

    1. ``Job(settings, checkpoint, now)``. Without a checkpoint it notes the ends of both topics
       by `requests_scanned` and `results_read`, for every partition.
    2. With a checkpoint it scans the requests topic from ``checkpoint.request_offsets`` to its
       end: `published` for each request of this job, then `requests_scanned`.
    3. It reads results from ``checkpoint.result_offsets`` on: `answered`, then `results_read`.
    4. It adds items from `items_read` on, which is then the first item that is not written, and
       publishes what `next_request` returns. Nothing is sent before the scan is over.

    Args:
        settings: The job's settings. How items are grouped may differ from a former process.
        checkpoint: The last one that was kept; ``None`` for a new job.
        now: The time on the shell's clock in seconds, here and in all methods.
    """

    def __init__(self, settings: JobSettings, checkpoint: Checkpoint | None, now: float) -> None:
        kept = Checkpoint() if checkpoint is None else checkpoint
        written = [(0, kept.items_written)] if kept.items_written else []
        written.extend(kept.written_above)
        self._settings = settings
        self._window = settings.window
        self._first_attempt = kept.attempt
        self._last_attempt = max(kept.last_attempt, kept.attempt)
        self._most_attempts = kept.attempt + settings.attempts - 1
        self._writing = Writing(ordered=settings.ordered, written=written)
        self._writing.failed_durable = kept.items_failed
        self._requests = OffsetLedger(kept.request_offsets)
        self._results = OffsetLedger(kept.result_offsets)
        self._unacknowledged = Unacknowledged()
        self._flight = Flight()
        self._failed_requests: set[Request] = set()
        # Above the next fresh item: what a former process sent, and what is done.
        self._ahead = RangeSet(kept.written_above)
        self._next = kept.items_written
        self._sizes = ItemSizes(kept.items_written)
        self._bytes_held = 0
        self._input_ended = False
        self._expected: int | None = None
        self._answered_items = self._writing.done.items
        self._failed_items = kept.items_failed
        self._repeats = 0
        self._ending = None if kept.ending is None else JobState(kept.ending)
        self._paused = kept.paused
        self._gave_up: Failure | None = None
        self._rates = Rates(settings.rate_window_s, now)
        self._began = now - kept.active_s
        self._unsent_since = self._busy_since = now
        self._last_read = self._last_acknowledged = self._last_answered = now
        self._last_written = self._paused_at = now

    @property
    def items_read(self) -> int:
        """The number of the next item to add."""
        return self._sizes.end

    def items_wanted(self) -> int:
        """How many more items may be added now; memory is bounded if no more are."""
        if self._input_ended or self._bytes_held >= self._window.span_bytes:
            return 0
        return max(0, self._span_end() - self._sizes.end)

    def add_items(self, sizes: Iterable[int], now: float) -> None:
        """Add items, numbered from `items_read` on.

        Args:
            sizes: Bytes of each, as they count for requests and the window.
            now: The time.
        """
        first = self._sizes.end
        if first == self._next:
            self._unsent_since = now
        added_bytes = self._sizes.add(sizes)
        taken = self._writing.taken
        if taken.end > first:
            gaps = taken.missing(first, self._sizes.end)
            added_bytes = sum(self._sizes.bytes_of(*gap) for gap in gaps)
        self._bytes_held += added_bytes
        self._last_read = now

    def expect_items(self, total: int | None) -> None:
        """Say how many items the input will have, as far as is known, for the ETA."""
        self._expected = total

    def input_ended(self) -> None:
        """Say that no more items will be added; raises `JobError` if the input has shrunk."""
        self._input_ended = True
        known = max(self._ahead.end, self._writing.done.end)
        if known:
            self._check_end(known)

    def next_request(self, now: float) -> Request | None:
        """What to publish now; ``None`` if nothing is to be sent, or the window is full."""
        self.expire(now)
        if self._paused or self._ending or self._gave_up:
            return None
        if self._flight.requests >= self._window.requests:
            return None
        again = self._flight.next_queued(self._writing.done)
        if again is not None:
            size_bytes = self._sizes.bytes_of(again.first, again.end)
            return self._send(again, size_bytes, now)
        return self._next_fresh(now)

    def published(self, request: Request, partition: int, offset: int, now: float) -> None:
        """Note that a request is on its topic: by an acknowledgement, or found by a scan."""
        self._check_end(request.end)
        self._last_acknowledged = now
        if self._unacknowledged.discard(request):
            self._requests.hold(partition, offset, request.first, request.end)
            return
        if request.attempt < self._first_attempt:
            return
        self._requests.hold(partition, offset, request.first, request.end)
        self._last_attempt = max(self._last_attempt, request.attempt)
        done = self._writing.done.covers(request.first, request.end)
        if done or request in self._failed_requests:
            return
        if not self._flight.requests:
            self._busy_since = now
        self._flight.send(request, self._sizes.bytes_of(request.first, request.end))
        self._note_ahead(request.first, request.end)

    def publish_failed(self, request: Request, failure: Failure, now: float) -> None:
        """Note that a request is not on its topic.

        If the failure is retryable, the request is the next to be sent again. A shell that does
        not know whether the broker has it scans the requests topic first, which tells `published`.
        """
        self._unacknowledged.discard(request)
        if not self._flight.end(request):
            return
        gaps = self._writing.done.missing(request.first, request.end)
        if failure.retryable and gaps:
            self._flight.queue(request, in_front=True)
        elif gaps:
            self._fail(request, failure, gaps, now)

    def answered(
        self, request: Request, partition: int, offset: int, outcome: Outcome, now: float
    ) -> None:
        """Note a result, at its own place on the results topic.

        Repeats are dropped. A failed request of several items is sent again item by item.
        """
        self._check_end(request.end)
        self._results.hold(partition, offset, request.first, request.end)
        self._last_answered = now
        self._flight.end(request)
        gaps = self._writing.done.missing(request.first, request.end)
        if not gaps:
            self._repeats += 1
        elif isinstance(outcome, Failure):
            self._fail(request, outcome, gaps, now)
            self._note_ahead(request.first, request.end)
        else:
            self._put(request, gaps, outcome)
            items = sum(end - first for first, end in gaps)
            self._rates.add(items, outcome.tokens, outcome.size_bytes, now)
            self._note_ahead(request.first, request.end)

    def requests_scanned(self, partition: int, position: int) -> None:
        """Note that the requests topic has no other request of this job below ``position``."""
        self._requests.read_to(partition, position)
        self._unacknowledged.begin_epoch(self._requests.ends)

    def results_read(self, partition: int, position: int) -> None:
        """Note that all results below ``position`` were told by `answered`, or are not ours."""
        self._results.read_to(partition, position)

    def take_writable(self, most_items: int | None = None) -> list[Piece]:
        """Take what may be written next.

        Args:
            most_items: No more items than these, unless the first piece alone has more.
        """
        pieces = self._writing.take(self._sizes.end, most_items)
        for piece in pieces:
            self._bytes_held -= self._sizes.bytes_of(piece.first, piece.end)
        if pieces:
            self._sizes.drop_below(min(self._writing.taken.prefix, self._next))
        return pieces

    def written(self, sequence: int, now: float) -> None:
        """Note that the pieces up to ``sequence``, in the order taken, are durably written."""
        self._writing.written(sequence)
        self._last_written = now

    def checkpoint(self, now: float) -> Checkpoint:
        """What may be kept now, of the output that `written` has told of."""
        durable = self._writing.durable
        request_offsets = self._requests.positions(durable)
        floor = self._unacknowledged.floor()
        if floor is not None:
            for partition, position in request_offsets.items():
                request_offsets[partition] = min(position, floor.get(partition, 0))
        self._unacknowledged.begin_epoch(self._requests.ends)
        self._failed_requests = {
            each for each in self._failed_requests if not durable.covers(each.first, each.end)
        }
        prefix = durable.prefix
        return Checkpoint(
            items_written=prefix,
            written_above=tuple(each for each in durable if each[0] > prefix),
            items_failed=self._writing.failed_durable,
            request_offsets=request_offsets,
            result_offsets=self._results.positions(durable),
            attempt=self._first_attempt,
            last_attempt=self._last_attempt,
            ending=None if self._ending is None else self._ending.value,
            paused=self._paused,
            active_s=now - self._began,
        )

    def cancel(self) -> None:
        """Send nothing more. Answers that still come are taken."""
        self._ending = self._ending or JobState.CANCELLED

    def expire(self, now: float) -> bool:
        """End the job if its deadline has passed; true if it ended by that, now or before."""
        deadline = self._settings.deadline
        if deadline is not None and now >= deadline and not self._ending and not self._is_complete:
            self._ending = JobState.EXPIRED
        return self._ending is JobState.EXPIRED

    def give_up(self, failure: Failure) -> None:
        """Fail the job for a reason of the shell's."""
        self._gave_up = self._gave_up or failure

    def pause(self, now: float) -> None:
        if not self._paused:
            self._paused = True
            self._paused_at = now

    def resume(self) -> None:
        self._paused = False

    @property
    def gave_up(self) -> Failure | None:
        """Why the job failed as a whole."""
        return self._gave_up

    def state(self, now: float) -> JobState:
        if self._is_complete:
            if self._failed_items:
                every = self._failed_items == self._sizes.end
                return JobState.FAILED if every else JobState.PARTIAL
            return JobState.DONE
        if self._gave_up:
            return JobState.FAILED
        self.expire(now)
        if self._ending:
            return self._ending
        if self._paused:
            return JobState.PAUSED
        return JobState.DRAINING if self._is_all_sent else JobState.RUNNING

    def progress(self, now: float) -> Progress:
        state = self.state(now)
        items_per_s, tokens_per_s, bytes_per_s = self._rates.per_s(now)
        total = self._sizes.end if self._input_ended else self._expected
        eta_s = None
        if total is not None and (items_per_s or self._answered_items >= total):
            left = max(0, total - self._answered_items)
            eta_s = left / items_per_s if left else 0.0
        waits_for, since = self._waits(state)
        return Progress(
            state=state,
            items_read=self._sizes.end,
            items_total=total,
            items_answered=self._answered_items,
            items_failed=self._failed_items,
            items_written=self._writing.durable.items,
            requests_in_flight=self._flight.requests,
            items_in_flight=self._flight.items,
            bytes_in_flight=self._flight.bytes,
            repeats=self._repeats,
            items_per_s=items_per_s,
            tokens_per_s=tokens_per_s,
            bytes_per_s=bytes_per_s,
            eta_s=eta_s,
            waits_for=waits_for,
            waits_s=max(0.0, now - since),
            active_s=now - self._began,
        )

    @property
    def _is_complete(self) -> bool:
        return self._input_ended and self._writing.durable.prefix >= self._sizes.end

    @property
    def _is_all_sent(self) -> bool:
        if not self._input_ended or self._flight.queued:
            return False
        return self._ahead.next_missing(self._next) >= self._sizes.end

    def _span_end(self) -> int:
        return self._writing.taken.prefix + self._window.span_items

    def _next_fresh(self, now: float) -> Request | None:
        self._next = first = self._ahead.next_missing(self._next)
        self._ahead.drop_below(first)
        read_to = self._sizes.end
        if first >= read_to or self._writing.result_bytes >= self._window.result_bytes:
            return None
        span_end = self._span_end()
        ahead = self._ahead.next_start(first)
        limit = min(read_to, span_end)
        if ahead is not None and ahead < limit:
            limit = ahead
        if first >= limit:
            return None
        most = self._settings.request_items
        end, size_bytes = self._sizes.group(first, limit, most, self._settings.request_bytes)
        if end == limit and end - first < most and limit != ahead and not self._input_ended:
            # More may come that belongs to this request.
            if limit == span_end:
                return None
            lingers = now - self._unsent_since < self._settings.linger_s
            if lingers and self.items_wanted():
                return None
        request = self._send(Request(first, end, self._first_attempt), size_bytes, now)
        if request is not None:
            self._next = end
            self._unsent_since = now
        return request

    def _send(self, request: Request, size_bytes: int, now: float) -> Request | None:
        flight, window = self._flight, self._window
        if not flight.requests:
            # Whatever its size: nothing would ever make more room.
            self._busy_since = now
        elif (
            flight.items + request.items > window.items or flight.bytes + size_bytes > window.bytes
        ):
            return None
        flight.send(request, size_bytes)
        self._unacknowledged.add(request)
        return request

    def _note_ahead(self, first: int, end: int) -> None:
        if end > self._next:
            self._ahead.add(first, end)

    def _check_end(self, end: int) -> None:
        if self._input_ended and end > self._sizes.end:
            raise JobError(
                f"the input has {self._sizes.end} items, but item {end - 1} was sent before: it "
                "has shrunk since; give the input that the job began with, or begin a new job"
            )

    def _put(self, request: Request, gaps: Iterable[tuple[int, int]], outcome: Outcome) -> None:
        for first, end in gaps:
            self._writing.put(first, end, request.first, outcome)
            self._answered_items += end - first

    def _fail(
        self, request: Request, failure: Failure, gaps: Sequence[tuple[int, int]], now: float
    ) -> None:
        attempt = request.attempt
        if attempt < self._first_attempt or (self._ending and failure.ends_with_job):
            return
        self._failed_requests.add(request)
        items = self._flight.unclaimed(gaps)
        if not items:
            return
        if request.items > 1 and not failure.alike:
            for item in items:
                self._flight.queue(Request(item, item + 1, attempt))
        elif failure.retryable and attempt < self._most_attempts:
            self._last_attempt = max(self._last_attempt, attempt + 1)
            self._flight.queue(request._replace(attempt=attempt + 1))
        else:
            failed = RangeSet((item, item + 1) for item in items)
            self._put(request, failed, failure)
            self._failed_items += len(items)
            self._rates.add(len(items), 0, 0, now)
            most = self._settings.most_failed_items
            if most is not None and self._failed_items > most:
                self.give_up(
                    Failure(
                        "too_many_failures",
                        f"{self._failed_items} items failed, and {most} may; the last one: "
                        f"{failure.code}: {failure.message}",
                    )
                )

    def _waits(self, state: JobState) -> tuple[WaitsFor, float]:
        flight = self._flight.requests
        if state.is_final:
            return WaitsFor.NOTHING, self._last_written
        if self._writing.is_turn(self._sizes.end):
            return WaitsFor.WRITING, max(self._last_written, self._busy_since)
        if flight and len(self._unacknowledged) >= flight:
            return WaitsFor.BROKER, max(self._last_acknowledged, self._busy_since)
        if flight:
            return WaitsFor.RESULTS, max(self._last_answered, self._busy_since)
        if self._writing.in_hand_pieces:
            return WaitsFor.WRITING, max(self._last_written, self._last_answered)
        if self._paused:
            return WaitsFor.RESUME, self._paused_at
        if not self._input_ended:
            return WaitsFor.INPUT, self._last_read
        return WaitsFor.NOTHING, self._last_written
