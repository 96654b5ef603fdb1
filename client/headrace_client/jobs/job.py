"""A job: what to send, what to write, what may be checkpointed."""

from collections.abc import Iterable, Mapping, Sequence

from headrace_client.jobs.activity import Activity
from headrace_client.jobs.checkpoints import Checkpoint
from headrace_client.jobs.flight import Flight
from headrace_client.jobs.offsets import OffsetLedger, Unacknowledged
from headrace_client.jobs.outcomes import Failure, Outcome, Piece
from headrace_client.jobs.ranges import RangeSet
from headrace_client.jobs.rates import Rates, eta_s
from headrace_client.jobs.requests import Request
from headrace_client.jobs.settings import JobSettings
from headrace_client.jobs.states import JobState, Progress, WaitsFor
from headrace_client.jobs.unsent import Unsent
from headrace_client.jobs.writing import Writing

_Gaps = Sequence[tuple[int, int]]
"""Ranges [first, end) of a request's items that have no outcome."""


class JobError(Exception):
    """The shell or the topics say what cannot be true of this job."""


class Job:
    """The decisions of one job: pure, synchronous, without a clock.

    The job says what is next. A shell that begins, or goes on after a crash, does this:

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
        self._settings = settings
        self._window = settings.window
        self._first_attempt = kept.attempt
        self._last_attempt = max(kept.last_attempt, kept.attempt)
        self._writing = Writing(ordered=settings.ordered, written=kept.written)
        self._writing.failed_durable = kept.items_failed
        self._requests = OffsetLedger(kept.request_offsets)
        self._results = OffsetLedger(kept.result_offsets)
        self._unacknowledged = Unacknowledged()
        self._flight = Flight()
        self._failed_requests: set[Request] = set()
        self._found: set[Request] = set()
        self._unsent = Unsent(settings, kept.items_written, kept.written_above, now)
        self._expected: int | None = None
        self._answered_items = self._writing.done.items
        self._failed_items = kept.items_failed
        self._repeats = 0
        self._ending = None if kept.ending is None else JobState(kept.ending)
        self._is_paused = kept.paused
        self._gave_up: Failure | None = None
        self._rates = Rates(settings.rate_window_s, now)
        self._activity = Activity(now)
        self._began_at = now - kept.active_s

    @property
    def items_read(self) -> int:
        """The number of the next item to add."""
        return self._unsent.items_read

    @property
    def gave_up(self) -> Failure | None:
        """Why the job failed as a whole."""
        return self._gave_up

    def items_wanted(self, *, has_room: bool = True) -> int:
        """How many more items may be added now; memory is bounded if no more are.

        A request that all others wait for is read to its end in any case: a process before this one
        may have read further at a time, or have had a larger window.

        Args:
            has_room: Whether the shell can hold more.
        """
        taken = self._writing.taken
        wanted = self._unsent.wanted(taken) if has_room else 0
        again = self._flight.lowest_queued(self._writing.done)
        if again is None or again.first > taken.prefix or self._unsent.has_ended:
            return wanted
        return max(wanted, again.end - self.items_read)

    def add_items(self, sizes: Iterable[int], now: float) -> None:
        """Add items, numbered from `items_read` on.

        Args:
            sizes: Bytes of each, as they count for requests and the window.
            now: The time.
        """
        self._unsent.add(sizes, self._writing.taken, now)
        self._activity.read_at = now

    def expect_items(self, total: int | None) -> None:
        """Say how many items the input will have, as far as is known, for the ETA."""
        self._expected = total

    def input_ended(self) -> None:
        """Say that no more items will be added; raises `JobError` if the input has shrunk."""
        self._unsent.has_ended = True
        self._check_end(max(self._unsent.highest_ahead, self._writing.done.end))

    def next_request(self, now: float) -> Request | None:
        """What to publish now; ``None`` if nothing is to be sent, or the window is full."""
        self.expire(now)
        if self._is_paused or self._ending or self._gave_up:
            return None
        if self._flight.requests >= self._window.requests:
            return None
        again = self._flight.next_queued(self._writing.done, self.items_read)
        if again is not None:
            return again if self._send(again, self._unsent.bytes_of(again), now) else None
        taken = self._writing.taken
        coming_bytes = self._flight.items * self._writing.item_bytes
        has_room = self._writing.result_bytes + coming_bytes < self._window.result_bytes
        # What all others wait for is sent in any case.
        if not has_room and self._unsent.next_fresh > taken.prefix:
            return None
        fresh = self._unsent.next_group(self._first_attempt, taken, now)
        if fresh is None or not self._send(*fresh, now):
            return None
        self._unsent.sent(fresh[0], now)
        return fresh[0]

    def published(self, request: Request, partition: int, offset: int, now: float) -> None:
        """Note that a request is on its topic: by an acknowledgement, or found by a scan."""
        self._check_end(request.end)
        self._activity.acknowledged_at = now
        if self._unacknowledged.discard(request):
            self._requests.hold(partition, offset, request.first, request.end)
            return
        if request.attempt < self._first_attempt:
            return
        self._requests.hold(partition, offset, request.first, request.end)
        self._last_attempt = max(self._last_attempt, request.attempt)
        done = self._writing.done
        if request in self._failed_requests or done.covers(request.first, request.end):
            return
        if not self._flight.requests:
            self._activity.busy_at = now
        self._found.add(request)
        self._flight.send(request, self._unsent.bytes_of(request))
        self._unsent.not_fresh(request.first, request.end)

    def publish_failed(self, request: Request, failure: Failure, now: float) -> None:
        """Note that a request is not on its topic.

        If the failure is retryable, the request is sent again. A shell that does not know whether
        the broker has it scans the requests topic first, which tells `published`.
        """
        self._unacknowledged.discard(request)
        if not self._flight.end(request):
            return
        gaps = self._writing.done.missing(request.first, request.end)
        if failure.retryable and gaps:
            self._flight.queue(request)
        elif gaps:
            self._fail(request, failure, gaps, now)

    def answered(
        self, request: Request, partition: int, offset: int, outcome: Outcome, now: float
    ) -> None:
        """Note a result, at its own place on the results topic.

        Repeats are dropped. A failed request of several items is sent again item by item, and one
        that was too large in halves. One that the service cancelled cancels the job, and one that
        it says has expired ends it likewise, unless a former process sent it with its own deadline.
        """
        self._check_end(request.end)
        self._results.hold(partition, offset, request.first, request.end)
        self._activity.answered_at = now
        self._flight.end(request)
        gaps = self._writing.done.missing(request.first, request.end)
        if not gaps:
            self._repeats += 1
        elif isinstance(outcome, Failure):
            # What failed in a former run says nothing of this one.
            if request.attempt >= self._first_attempt:
                fail = self._end_early if outcome.ends_with_job else self._fail
                fail(request, outcome, gaps, now)
        else:
            items = self._put(request, gaps, outcome)
            self._rates.add(items, outcome.tokens, outcome.size_bytes, now)
            self._unsent.not_fresh(request.first, request.end)
        self._found.discard(request)

    def requests_scanned(self, partition: int, position: int) -> None:
        """Note that the requests topic has no other request of this job below ``position``."""
        self._requests.read_to(partition, position)
        self._unacknowledged.begin_epoch(self._requests.ends)

    def results_read(self, partition: int, position: int) -> None:
        """Note that all results below ``position`` were told by `answered`, or are not ours."""
        self._results.read_to(partition, position)

    def results_lost(self, positions: Mapping[int, int]) -> int:
        """Note that results were deleted unread; whatever is in flight is sent again.

        ``positions`` are where each partition is read on. Returns the items that were in flight.
        """
        self._results = OffsetLedger(positions)
        self._first_attempt = self._last_attempt = self._last_attempt + 1
        self._found.clear()
        return self._flight.queue_all(self._first_attempt)

    def take_writable(
        self, most_items: int | None = None, most_bytes: int | None = None
    ) -> list[Piece]:
        """Take what may be written next.

        Args:
            most_items: No more items than these, unless the first piece alone has more.
            most_bytes: No more bytes of answers, under the same condition.
        """
        pieces = self._writing.take(self._unsent.items_read, most_items, most_bytes)
        for piece in pieces:
            self._unsent.take(piece.first, piece.end)
        if pieces:
            self._unsent.drop_below(self._writing.taken.prefix)
        return pieces

    def written(self, sequence: int, now: float) -> None:
        """Note that the pieces up to ``sequence``, in the order taken, are durably written."""
        self._writing.written(sequence)
        self._activity.written_at = now

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
            paused=self._is_paused,
            active_s=now - self._began_at,
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
        if not self._is_paused:
            self._is_paused = True
            self._activity.paused_at = now

    def resume(self) -> None:
        self._is_paused = False

    def state(self, now: float) -> JobState:
        if self._is_complete:
            if self._failed_items:
                every = self._failed_items == self.items_read
                return JobState.FAILED if every else JobState.PARTIAL
            return JobState.DONE
        if self._gave_up:
            return JobState.FAILED
        self.expire(now)
        if self._ending:
            return self._ending
        if self._is_paused:
            return JobState.PAUSED
        is_all_sent = self._unsent.is_all_sent and not self._flight.queued
        return JobState.DRAINING if is_all_sent else JobState.RUNNING

    def progress(self, now: float) -> Progress:
        state = self.state(now)
        items_per_s, tokens_per_s, bytes_per_s = self._rates.per_s(now)
        total = self.items_read if self._unsent.has_ended else self._expected
        waits_for = self._waits_for(state)
        return Progress(
            state=state,
            items_read=self.items_read,
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
            eta_s=None if total is None else eta_s(total - self._answered_items, items_per_s),
            waits_for=waits_for,
            waits_s=max(0.0, now - self._activity.since(waits_for)),
            active_s=now - self._began_at,
        )

    @property
    def _is_complete(self) -> bool:
        return self._unsent.has_ended and self._writing.durable.prefix >= self.items_read

    def _send(self, request: Request, size_bytes: int, now: float) -> bool:
        flight, window = self._flight, self._window
        if not flight.requests:
            # Whatever its size: nothing would ever make more room.
            self._activity.busy_at = now
        elif (
            flight.items + request.items > window.items or flight.bytes + size_bytes > window.bytes
        ):
            return False
        flight.send(request, size_bytes)
        self._unacknowledged.add(request)
        return True

    def _check_end(self, end: int) -> None:
        if self._unsent.has_ended and end > self.items_read:
            raise JobError(
                f"the input has {self.items_read} items, but item {end - 1} was sent before: it "
                "has shrunk since; give the input that the job began with, or begin a new job"
            )

    def _put(self, request: Request, gaps: Iterable[tuple[int, int]], outcome: Outcome) -> int:
        before = self._answered_items
        for first, end in gaps:
            self._writing.put(first, end, request.first, outcome)
            self._answered_items += end - first
        return self._answered_items - before

    def _end_early(self, request: Request, failure: Failure, gaps: _Gaps, now: float) -> None:
        """A request was cancelled or has expired, which says nothing of its items."""
        attempt = request.attempt
        if self._ending or not self._flight.unclaimed(gaps, above_attempt=attempt):
            return
        if failure.is_cancellation:
            self._ending = JobState.CANCELLED
        elif request in self._found:
            # Its deadline is that of the process which sent it.
            self._failed_requests.add(request)
            self._unsent.not_fresh(request.first, request.end)
            self._last_attempt = max(self._last_attempt, attempt + 1)
            self._flight.queue(request._replace(attempt=attempt + 1))
        elif self._settings.deadline is not None:
            # The service's clock is ahead of this one.
            self._ending = JobState.EXPIRED
        else:
            self._fail(request, failure, gaps, now)

    def _fail(self, request: Request, failure: Failure, gaps: _Gaps, now: float) -> None:
        attempt = request.attempt
        self._failed_requests.add(request)
        self._unsent.not_fresh(request.first, request.end)
        if request.items > 1 and not failure.alike:
            self._flight.split(request, gaps, in_halves=failure.is_too_large)
            return
        # A repeat says nothing of the attempt that followed it.
        items = self._flight.unclaimed(gaps, above_attempt=attempt)
        if not items:
            return
        if failure.retryable and attempt + 1 < self._first_attempt + self._settings.attempts:
            self._last_attempt = max(self._last_attempt, attempt + 1)
            self._flight.queue(request._replace(attempt=attempt + 1))
        else:
            failed = RangeSet((item, item + 1) for item in items)
            self._failed_items += self._put(request, failed, failure)
            self._rates.add(len(items), 0, 0, now)
            most = self._settings.most_failed_items
            if most is not None and self._failed_items > most:
                self.give_up(failure.as_last_of(self._failed_items, most))

    def _waits_for(self, state: JobState) -> WaitsFor:
        if state.is_final:
            return WaitsFor.NOTHING
        return self._activity.waits_for(
            is_turn=self._writing.is_turn(self.items_read),
            in_flight=self._flight.requests,
            unacknowledged=len(self._unacknowledged),
            in_hand=self._writing.in_hand_pieces,
            is_paused=self._is_paused,
            has_input_ended=self._unsent.has_ended,
        )
