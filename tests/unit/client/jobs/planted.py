"""Known bugs of a job, one at a time; the world must catch each."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from headrace_client.jobs import Checkpoint, Job, JobSettings, Outcome, Piece, Request
from headrace_client.jobs.flight import Flight
from headrace_client.jobs.offsets import OffsetLedger, Unacknowledged
from headrace_client.jobs.ranges import RangeSet
from headrace_client.jobs.writing import Writing

MakeJob = Callable[[JobSettings, Checkpoint | None, float], Job]


class _ReadPosition(OffsetLedger):
    def positions(self, durable: RangeSet) -> dict[int, int]:
        return self.ends


class _NoFloor(Unacknowledged):
    def floor(self) -> dict[int, int] | None:
        return None


class _LateFloor(Unacknowledged):
    """Takes the ends of the newest epoch, and not those of the oldest that is open."""

    def floor(self) -> dict[int, int] | None:
        return self._epochs[-1][1] if self._epoch_of else None


class _HalfSplit(Flight):
    def queue(self, request: Request) -> None:
        if request.items > 1 or request.first % 2:
            super().queue(request)


class _ForgetfulSplit(Flight):
    """Sends again what was sent again before."""

    def unclaimed(self, gaps: Sequence[tuple[int, int]], *, above_attempt: int = 0) -> list[int]:
        return [item for first, end in gaps for item in range(first, end)]

    def queue(self, request: Request) -> None:
        if request in self:
            self.end(request)
        super().queue(request)


class _UnreadSplit(Flight):
    """Does not wait for the items of what is sent again."""

    def next_queued(self, done: RangeSet, items_read: int) -> Request | None:
        return super().next_queued(done, 1_000)


class _TakenIsDurable(Writing):
    def take(
        self, items_read: int, most_items: int | None, most_bytes: int | None = None
    ) -> list[Piece]:
        pieces = super().take(items_read, most_items, most_bytes)
        if pieces:
            self.written(pieces[-1].sequence)
        return pieces


class _TwiceWritten(Writing):
    """Does not know that an item has an outcome."""

    def put(self, first: int, end: int, request_first: int, outcome: Outcome) -> None:
        super().put(first, end, request_first, outcome)
        self.done = RangeSet(self.durable)


class _OutOfOrder(Writing):
    def take(
        self, items_read: int, most_items: int | None, most_bytes: int | None = None
    ) -> list[Piece]:
        for first in sorted(self._by_first, reverse=True):
            if self._by_first[first].end <= items_read:
                return [self._take(self._by_first.pop(first))]
        return super().take(items_read, most_items, most_bytes)


class _NoSetAbove(Job):
    def checkpoint(self, now: float) -> Checkpoint:
        return replace(super().checkpoint(now), written_above=())


class _Republishing(Job):
    def published(self, request: Request, partition: int, offset: int, now: float) -> None:
        if request in self._unacknowledged:
            super().published(request, partition, offset, now)
        else:
            self._requests.hold(partition, offset, request.first, request.end)


class _OneRequestMore(Job):
    def next_request(self, now: float) -> Request | None:
        window = self._window
        self._window = replace(window, requests=window.requests + 1)
        try:
            return super().next_request(now)
        finally:
            self._window = window


class _ItemsWithoutLimit(Job):
    def next_request(self, now: float) -> Request | None:
        window = self._window
        self._window = replace(window, items=1_000, span_items=1_000, bytes=1_000)
        try:
            return super().next_request(now)
        finally:
            self._window = window


class _WithoutSpan(Job):
    def items_wanted(self, *, has_room: bool = True) -> int:
        return 1_000


class _SameAttempt(Job):
    """Tries failed items again under the name that was answered."""

    def next_request(self, now: float) -> Request | None:
        request = super().next_request(now)
        if request is None or request.attempt == self._first_attempt:
            return request
        self._flight.end(request)
        again = request._replace(attempt=self._first_attempt)
        self._flight.send(again, 0)
        return again


class _DoneWhenAnswered(Job):
    @property
    def _is_complete(self) -> bool:
        return self._unsent.has_ended and self._writing.done.prefix >= self.items_read


def _results(job: Job, kept: Checkpoint) -> None:
    job._results = _ReadPosition(kept.result_offsets)


def _requests(job: Job, kept: Checkpoint) -> None:
    job._requests = _ReadPosition(kept.request_offsets)


def _no_floor(job: Job, kept: Checkpoint) -> None:
    job._unacknowledged = _NoFloor()


def _late_floor(job: Job, kept: Checkpoint) -> None:
    job._unacknowledged = _LateFloor()


def _half_split(job: Job, kept: Checkpoint) -> None:
    job._flight = _HalfSplit()


def _forgetful_split(job: Job, kept: Checkpoint) -> None:
    job._flight = _ForgetfulSplit()


def _unread_split(job: Job, kept: Checkpoint) -> None:
    job._flight = _UnreadSplit()


def _with(part: Callable[[Job, Checkpoint], None]) -> MakeJob:
    def make(settings: JobSettings, checkpoint: Checkpoint | None, now: float) -> Job:
        job = Job(settings, checkpoint, now)
        part(job, checkpoint or Checkpoint())
        return job

    return make


def _with_writing(kind: type[Writing]) -> MakeJob:
    def make(settings: JobSettings, checkpoint: Checkpoint | None, now: float) -> Job:
        job = Job(settings, checkpoint, now)
        kept = checkpoint or Checkpoint()
        written: Iterable[tuple[int, int]] = job._writing.durable
        job._writing = kind(ordered=settings.ordered, written=written)
        job._writing.failed_durable = kept.items_failed
        return job

    return make


PLANTED: dict[str, tuple[MakeJob, str]] = {
    "commit_past_an_unwritten_result": (_with(_results), "still needed"),
    "scan_from_past_an_unwritten_request": (_with(_requests), "still needed"),
    "forget_what_is_under_way": (_with(_no_floor), "lands below|still needed"),
    "forget_what_was_under_way_before": (_with(_late_floor), "lands below|still needed"),
    "forget_the_set_above_the_prefix": (_NoSetAbove, "not what was written"),
    "republish_what_is_published": (_Republishing, "is published"),
    "lose_half_of_a_split": (_with(_half_split), "stands still"),
    "split_twice": (_with(_forgetful_split), "is published|sent again"),
    "send_what_was_not_read": (_with(_unread_split), "was not read"),
    "checkpoint_what_is_not_durable": (
        _with_writing(_TakenIsDurable),
        "not what was written|ended early",
    ),
    "take_repeats_for_new": (_with_writing(_TwiceWritten), "twice|sent again"),
    "write_out_of_order": (_with_writing(_OutOfOrder), "out of order|gap"),
    "one_request_more_than_the_window": (_OneRequestMore, "too many requests"),
    "items_beyond_the_window": (_ItemsWithoutLimit, "too many items"),
    "read_beyond_the_span": (_WithoutSpan, "beyond the span"),
    "answer_another_attempt": (_SameAttempt, "sent again|is published"),
    "done_before_it_is_written": (_DoneWhenAnswered, "ended early"),
}
