"""Rates, what a job waits for, and what it costs in memory."""

from collections.abc import Sized

from headrace_client.jobs import Answer, Job, JobSettings, Request, WaitsFor, Window
from headrace_client.jobs.rates import Rates


def test_a_rate_is_that_of_the_window_and_falls_when_nothing_comes() -> None:
    rates = Rates(30.0, 0.0)
    assert rates.per_s(0.0) == (0.0, 0.0, 0.0)
    for second in range(1, 101):
        rates.add(10 if second <= 50 else 20, 100, 1000, float(second))
    items, tokens, size_bytes = rates.per_s(100.0)
    assert (items, tokens, size_bytes) == (20.0, 100.0, 1000.0)
    assert rates.per_s(115.0)[0] == 10.0
    assert rates.per_s(200.0)[0] == 0.0


def test_many_answers_leave_few_samples() -> None:
    rates = Rates(30.0, 0.0)
    for number in range(100_000):
        rates.add(1, 0, 0, number / 1000)
    assert len(rates._samples) <= 62
    assert abs(rates.per_s(100.0)[0] - 1000) < 20


def _job() -> Job:
    job = Job(JobSettings(request_items=2), None, 0.0)
    job.requests_scanned(0, 0)
    job.results_read(0, 0)
    return job


def test_progress_says_what_the_job_waits_for_and_for_how_long() -> None:
    job = _job()
    assert job.progress(3.0).waits_for is WaitsFor.INPUT
    assert job.progress(3.0).waits_s == 3.0
    job.add_items([1, 1], 4.0)
    job.input_ended()
    request = job.next_request(5.0)
    assert request == Request(0, 2)
    assert job.progress(8.0).waits_for is WaitsFor.BROKER
    assert job.progress(8.0).waits_s == 3.0
    job.published(request, 0, 0, 9.0)
    assert job.progress(10.0).waits_for is WaitsFor.RESULTS
    assert job.progress(10.0).waits_s == 5.0
    job.answered(request, 0, 0, Answer(), 11.0)
    assert job.progress(12.0).waits_for is WaitsFor.WRITING
    (piece,) = job.take_writable()
    assert job.progress(12.0).waits_for is WaitsFor.WRITING
    job.written(piece.sequence, 13.0)
    assert job.progress(14.0).waits_for is WaitsFor.NOTHING


def test_progress_counts_and_foresees() -> None:
    job = _job()
    job.expect_items(100)
    assert job.progress(0.0).eta_s is None
    job.add_items([5] * 20, 0.0)
    for _ in range(5):
        request = job.next_request(0.0)
        assert request is not None
        job.published(request, 0, request.first, 0.0)
    for first in range(0, 8, 2):
        answer = Answer(size_bytes=100, tokens=30)
        job.answered(Request(first, first + 2), 0, first, answer, first / 2 + 1)
    job.answered(Request(0, 2), 0, 9, Answer(), 4.0)
    pieces = job.take_writable(4)
    job.written(pieces[-1].sequence, 4.0)
    progress = job.progress(4.0)
    assert progress.items_read == 20
    assert progress.items_total == 100
    assert progress.items_answered == 8
    assert progress.items_written == 4
    assert (progress.requests_in_flight, progress.items_in_flight) == (1, 2)
    assert progress.bytes_in_flight == 10
    assert progress.repeats == 1
    assert (progress.items_per_s, progress.tokens_per_s) == (2.0, 30.0)
    assert progress.bytes_per_s == 100.0
    assert progress.eta_s == 46.0
    assert progress.active_s == 4.0


def test_memory_is_that_of_the_window_and_not_of_the_job() -> None:
    window = Window(requests=16, items=64, span_items=256)
    for ordered in (True, False):
        job = Job(JobSettings(request_items=4, window=window, ordered=ordered), None, 0.0)
        job.requests_scanned(0, 0)
        job.results_read(0, 0)
        offset = 0
        for turn in range(800):
            job.add_items([10] * job.items_wanted(), 0.0)
            sent = []
            while (request := job.next_request(0.0)) is not None:
                sent.append(request)
                job.published(request, 0, offset + len(sent), 0.0)
            # In any order, and a few of them twice.
            for request in [*sent[turn % 5 :: 5], *sent, *sent[:3]]:
                offset += 1
                job.answered(request, 0, offset, Answer(size_bytes=10), 0.0)
            pieces = job.take_writable()
            job.written(pieces[-1].sequence, 0.0)
            job.checkpoint(0.0)
        assert job.items_read > 40_000
        assert _held(job) < 4_000


def _held(job: Job) -> int:
    """How many values the job holds."""
    writing, flight, unsent = job._writing, job._flight, job._unsent
    held: list[Sized] = [
        *(writing.done, writing.taken, writing.durable, writing._by_first, writing._in_turn),
        *(writing._in_hand, flight._bytes_of, flight._queue, flight._queued, flight._singles),
        *(flight._groups, unsent._ahead, unsent._sizes._sizes, job._failed_requests),
        *(job._unacknowledged._epoch_of, job._unacknowledged._epochs, job._unacknowledged._open),
    ]
    ledgers = job._requests.held_records + job._results.held_records
    return sum(len(each) for each in held) + ledgers
