"""What a job decides, one case at a time."""

from typing import Any

import pytest

from headrace_client.jobs import (
    Answer,
    Checkpoint,
    Failure,
    Job,
    JobError,
    JobSettings,
    JobState,
    Request,
    WaitsFor,
    Window,
)

_SMALL = Window(requests=4, items=16, bytes=1000, span_items=64)


def _job(checkpoint: Checkpoint | None = None, **settings: Any) -> Job:
    given: dict[str, Any] = {"request_items": 4, "window": _SMALL} | settings
    job = Job(JobSettings(**given), checkpoint, 0.0)
    if checkpoint is None:
        job.requests_scanned(0, 100)
        job.results_read(0, 50)
    return job


def _sent(job: Job, now: float = 0.0) -> list[Request]:
    requests = []
    while (request := job.next_request(now)) is not None:
        requests.append(request)
    return requests


def _write(job: Job, now: float = 0.0) -> list[tuple[int, int]]:
    pieces = job.take_writable()
    if pieces:
        job.written(pieces[-1].sequence, now)
    return [(piece.first, piece.end) for piece in pieces]


class TestGrouping:
    def test_items_are_grouped_by_number(self) -> None:
        job = _job()
        job.add_items([1] * 10, 0.0)
        job.input_ended()
        assert _sent(job) == [Request(0, 4), Request(4, 8), Request(8, 10)]

    def test_items_are_grouped_by_bytes_and_a_large_one_goes_alone(self) -> None:
        job = _job(request_bytes=10)
        job.add_items([4, 4, 4, 50, 10, 1], 0.0)
        job.input_ended()
        groups = [(0, 2), (2, 3), (3, 4), (4, 5)]
        assert _sent(job) == [Request(*group) for group in groups]

    def test_a_request_that_is_not_full_waits_for_more_items_but_not_for_long(self) -> None:
        job = _job(linger_s=0.5)
        job.add_items([1] * 6, 0.0)
        assert _sent(job) == [Request(0, 4)]
        job.add_items([1], 0.3)
        assert _sent(job, 0.4) == []
        assert _sent(job, 0.6) == [Request(4, 7)]

    def test_no_item_waits_for_more_when_no_more_may_be_read(self) -> None:
        job = _job(window=Window(requests=4, items=16, bytes=1000, span_bytes=30))
        job.add_items([10, 10, 10], 0.0)
        assert job.items_wanted() == 0
        assert _sent(job) == [Request(0, 3)]


class TestWindow:
    def test_no_more_requests_than_the_window_are_in_flight(self) -> None:
        job = _job(request_items=2)
        job.add_items([1] * 20, 0.0)
        assert len(_sent(job)) == 4
        job.answered(Request(2, 4), 0, 50, Answer(), 0.0)
        assert _sent(job) == [Request(8, 10)]

    def test_no_more_items_than_the_window_are_in_flight(self) -> None:
        job = _job(window=Window(requests=9, items=9, span_items=64))
        job.add_items([1] * 20, 0.0)
        assert len(_sent(job)) == 2

    def test_no_more_bytes_than_the_window_are_in_flight(self) -> None:
        job = _job(window=Window(requests=9, items=64, bytes=100, span_items=64))
        job.add_items([20] * 8, 0.0)
        assert len(_sent(job)) == 1

    def test_a_request_that_is_larger_than_the_window_goes_alone(self) -> None:
        window = Window(requests=9, items=64, bytes=100, span_items=64)
        job = _job(window=window, request_bytes=1000)
        job.add_items([5000] * 2, 0.0)
        assert _sent(job) == [Request(0, 1)]
        job.answered(Request(0, 1), 0, 50, Answer(), 0.0)
        job.input_ended()
        assert _sent(job) == [Request(1, 2)]

    def test_reading_and_sending_stay_within_the_span(self) -> None:
        job = _job(window=Window(requests=99, items=8, span_items=12))
        assert job.items_wanted() == 8
        job.add_items([1] * 8, 0.0)
        assert _sent(job) == [Request(0, 4), Request(4, 8)]
        assert job.items_wanted() == 4
        job.add_items([1] * 4, 0.0)
        job.answered(Request(4, 8), 0, 50, Answer(), 0.0)
        # The lowest item holds all back, in flight as it is.
        assert _sent(job) == [Request(8, 12)]
        assert job.items_wanted() == 0
        job.answered(Request(0, 4), 0, 51, Answer(), 0.0)
        assert job.items_wanted() == 0
        _write(job)
        assert job.items_wanted() == 8

    def test_results_that_wait_for_their_turn_hold_back_new_requests(self) -> None:
        window = Window(requests=9, items=64, span_items=64, result_bytes=100)
        job = _job(window=window)
        job.add_items([1] * 40, 0.0)
        first = job.next_request(0.0)
        second = job.next_request(0.0)
        assert first is not None
        assert second is not None
        job.answered(second, 0, 50, Answer(size_bytes=100), 0.0)
        assert _sent(job) == []
        job.answered(first, 0, 51, Answer(size_bytes=1), 0.0)
        _write(job)
        assert _sent(job) != []

    def test_no_more_than_a_window_is_read_ahead_of_what_was_sent(self) -> None:
        job = _job(window=Window(requests=1, items=8, span_items=64))
        job.add_items([1] * job.items_wanted(), 0.0)
        assert _sent(job) == [Request(0, 4)]
        job.add_items([1] * job.items_wanted(), 0.0)
        assert job.items_read == 12
        assert job.items_wanted() == 0

    def test_results_that_are_on_their_way_count_as_large_as_those_that_came(self) -> None:
        job = _job(window=Window(requests=9, items=64, span_items=64, result_bytes=100))
        job.add_items([1] * 40, 0.0)
        first = job.next_request(0.0)
        assert first is not None
        job.answered(first, 0, 50, Answer(size_bytes=40), 0.0)
        _write(job)
        # Forty bytes each: with the third there would be more than 100.
        assert len(_sent(job)) == 3

    def test_no_more_bytes_are_taken_for_writing_than_are_asked_for(self) -> None:
        for ordered in (True, False):
            job = _job(ordered=ordered)
            job.add_items([1] * 12, 0.0)
            for offset, request in enumerate(_sent(job)):
                job.answered(request, 0, offset, Answer(size_bytes=40), 0.0)
            assert [piece.first for piece in job.take_writable(None, 90)] == [0, 4]
            assert [piece.first for piece in job.take_writable(None, 10)] == [8]

    def test_what_all_others_wait_for_is_sent_whatever_waits(self) -> None:
        window = Window(requests=9, items=64, span_items=64, result_bytes=10)
        job = _job(Checkpoint(), window=window)
        job.answered(Request(4, 8), 0, 0, Answer(size_bytes=1000), 0.0)
        job.add_items([1] * 8, 0.0)
        assert _sent(job) == [Request(0, 4)]


class TestFailures:
    def test_a_failed_request_is_sent_again_item_by_item(self) -> None:
        job = _job(window=Window(requests=9, items=64, span_items=64))
        job.add_items([1] * 4, 0.0)
        (request,) = _sent(job)
        job.answered(request, 0, 50, Failure("model_failed", "a poison"), 0.0)
        singles = _sent(job)
        assert singles == [Request(item, item + 1) for item in range(4)]
        for offset, single in enumerate(singles):
            outcome = Failure("bad", "2 is bad") if single.first == 2 else Answer("fine")
            job.answered(single, 0, 51 + offset, outcome, 0.0)
        pieces = job.take_writable()
        assert [piece.first for piece in pieces] == [0, 1, 2, 3]
        assert [piece.failure is not None for piece in pieces] == [False, False, True, False]
        assert pieces[0].payload == "fine"
        assert pieces[2].payload is None

    def test_what_would_fail_alike_is_not_split(self) -> None:
        job = _job()
        job.add_items([1] * 4, 0.0)
        job.input_ended()
        (request,) = _sent(job)
        job.answered(request, 0, 50, Failure.of("unknown_url", "no such route"), 0.0)
        assert _sent(job) == []
        assert _write(job) == [(0, 4)]
        assert job.state(0.0) is JobState.FAILED

    def test_what_may_succeed_is_tried_again_under_another_name(self) -> None:
        job = _job(request_items=1, attempts=2)
        job.add_items([1], 0.0)
        job.input_ended()
        _sent(job)
        lost = Failure.of("model_failed", "it was lost")
        job.answered(Request(0, 1), 0, 50, lost, 0.0)
        assert _sent(job) == [Request(0, 1, 2)]
        # A repeat of the first answer says nothing of the second attempt.
        job.answered(Request(0, 1), 0, 51, lost, 0.0)
        assert job.take_writable() == []
        job.answered(Request(0, 1, 2), 0, 52, lost, 0.0)
        assert _write(job) == [(0, 1)]

    def test_too_many_failures_end_the_job(self) -> None:
        job = _job(request_items=1, most_failed_items=1)
        job.add_items([1] * 10, 0.0)
        for item in range(2):
            assert job.state(0.0) is JobState.RUNNING
            assert job.next_request(0.0) == Request(item, item + 1)
            job.answered(Request(item, item + 1), 0, 50 + item, Failure("bad", "no"), 0.0)
        assert job.state(0.0) is JobState.FAILED
        assert job.gave_up is not None
        assert "bad: no" in job.gave_up.message
        assert job.next_request(0.0) is None

    def test_what_was_not_published_is_sent_again_first(self) -> None:
        job = _job()
        job.add_items([1] * 12, 0.0)
        first = job.next_request(0.0)
        assert first == Request(0, 4)
        assert job.next_request(0.0) == Request(4, 8)
        job.publish_failed(first, Failure("away", "no broker", retryable=True), 0.0)
        assert _sent(job) == [Request(0, 4), Request(8, 12)]

    def test_what_the_broker_refuses_fails_item_by_item(self) -> None:
        job = _job(request_items=2)
        job.add_items([1] * 2, 0.0)
        (request,) = _sent(job)
        refused = Failure("request_too_large", "the topic takes 1 MB")
        job.publish_failed(request, refused, 0.0)
        singles = _sent(job)
        assert singles == [Request(0, 1), Request(1, 2)]
        job.publish_failed(singles[0], refused, 0.0)
        assert _write(job) == [(0, 1)]

    @pytest.mark.parametrize("code", ["result_too_large", "request_too_large"])
    def test_what_was_too_large_is_sent_again_in_halves(self, code: str) -> None:
        job = _job(request_items=8, window=Window(requests=9, items=64, span_items=64))
        job.add_items([1] * 7, 0.0)
        job.input_ended()
        (request,) = _sent(job)
        too_large = Failure.of(code, "over the topic's limit")
        job.answered(request, 0, 50, too_large, 0.0)
        assert _sent(job) == [Request(0, 4), Request(4, 7)]
        job.answered(Request(0, 4), 0, 51, Answer(), 0.0)
        job.answered(Request(4, 7), 0, 52, too_large, 0.0)
        assert _sent(job) == [Request(4, 6), Request(6, 7)]
        job.answered(Request(6, 7), 0, 53, too_large, 0.0)
        job.answered(Request(4, 6), 0, 54, Answer(), 0.0)
        pieces = job.take_writable()
        assert [piece.failure is not None for piece in pieces] == [False, False, True]


class TestLostResults:
    def test_what_is_in_flight_is_sent_again_under_another_name(self) -> None:
        job = _job(Checkpoint())
        job.published(Request(0, 4), 0, 7, 0.0)
        job.published(Request(4, 6), 0, 8, 0.0)
        job.requests_scanned(0, 9)
        assert job.results_lost({0: 20}) == 6
        job.add_items([1] * 8, 0.0)
        job.input_ended()
        assert _sent(job) == [Request(0, 4, 2), Request(4, 6, 2), Request(6, 8, 2)]
        # What comes of the former ones counts if it is an answer.
        job.answered(Request(0, 4), 0, 20, Answer(), 0.0)
        job.answered(Request(4, 6), 0, 21, Failure("bad", "no"), 0.0)
        assert _write(job) == [(0, 4)]
        job.answered(Request(4, 6, 2), 0, 22, Answer(), 0.0)
        job.answered(Request(6, 8, 2), 0, 23, Answer(), 0.0)
        assert _write(job) == [(4, 6), (6, 8)]
        assert job.state(0.0) is JobState.DONE

    def test_a_process_that_follows_waits_for_none_of_them_either(self) -> None:
        job = _job()
        job.add_items([1] * 8, 0.0)
        for offset, request in enumerate(_sent(job)):
            job.published(request, 0, 100 + offset, 0.0)
        job.answered(Request(0, 4), 0, 50, Answer(), 0.0)
        # The topic was made anew: what was read of it is there no more.
        job.results_lost({0: 0})
        kept = job.checkpoint(0.0)
        assert kept.result_offsets == {0: 0}
        later = Job(JobSettings(request_items=4, window=_SMALL), kept, 0.0)
        later.published(Request(0, 4), 0, 100, 0.0)
        later.published(Request(4, 8), 0, 101, 0.0)
        later.add_items([1] * 8, 0.0)
        assert _sent(later) == [Request(0, 4, 2), Request(4, 8, 2)]


class TestResume:
    def test_only_what_is_neither_published_nor_answered_is_sent(self) -> None:
        job = _job(Checkpoint(items_written=4, written_above=((6, 8),)), request_items=8)
        job.published(Request(8, 10), 0, 7, 0.0)
        job.requests_scanned(0, 9)
        job.answered(Request(12, 14), 0, 3, Answer(), 0.0)
        assert job.items_read == 4
        job.add_items([1] * 14, 0.0)
        job.input_ended()
        ranges = [(4, 6), (10, 12), (14, 18)]
        assert _sent(job) == [Request(*each) for each in ranges]

    def test_the_input_may_have_grown(self) -> None:
        job = _job(Checkpoint(items_written=4))
        job.add_items([1] * 4, 0.0)
        job.input_ended()
        assert _sent(job) == [Request(4, 8)]

    def test_an_input_that_has_shrunk_is_an_error(self) -> None:
        job = _job(Checkpoint(items_written=4))
        job.published(Request(8, 12), 0, 7, 0.0)
        job.add_items([1] * 2, 0.0)
        with pytest.raises(JobError, match="has 6 items, but item 11 was sent"):
            job.input_ended()

    def test_an_input_that_has_shrunk_within_a_request_is_an_error(self) -> None:
        job = _job(Checkpoint(items_written=4))
        job.published(Request(4, 8), 0, 7, 0.0)
        job.add_items([1] * 2, 0.0)
        # It looks for more to send before the input ends.
        assert _sent(job) == []
        with pytest.raises(JobError, match="has 6 items, but item 7 was sent"):
            job.input_ended()

    def test_a_result_of_an_item_that_the_input_does_not_have_is_an_error(self) -> None:
        job = _job()
        job.add_items([1] * 2, 0.0)
        job.input_ended()
        with pytest.raises(JobError, match="shrunk"):
            job.answered(Request(0, 4), 0, 50, Answer(), 0.0)

    def test_an_answer_of_items_that_are_not_read_waits_for_them(self) -> None:
        job = _job(Checkpoint())
        job.answered(Request(0, 4), 0, 3, Answer((10, 11, 12, 13)), 0.0)
        assert job.take_writable() == []
        job.add_items([1] * 2, 0.0)
        assert _write(job) == [(0, 2)]
        job.add_items([1] * 2, 0.0)
        (piece,) = job.take_writable()
        assert (piece.first, piece.end, piece.request_first) == (2, 4, 0)

    def test_what_failed_in_another_run_says_nothing_of_this_one(self) -> None:
        job = _job(Checkpoint().again(), request_items=1)
        job.published(Request(0, 1), 0, 7, 0.0)
        job.answered(Request(0, 1), 0, 3, Failure("bad", "no"), 0.0)
        job.add_items([1], 0.0)
        assert _sent(job) == [Request(0, 1, 2)]

    def test_an_answer_that_is_read_before_its_request_is_found_counts(self) -> None:
        job = _job(Checkpoint())
        job.published(Request(0, 4), 0, 7, 0.0)
        bad = Failure("bad", "no")
        job.answered(Request(1, 2), 0, 3, bad, 0.0)
        job.published(Request(1, 2), 0, 8, 0.0)
        job.answered(Request(0, 4), 0, 4, bad, 0.0)
        job.add_items([1] * 4, 0.0)
        assert _sent(job) == [Request(item, item + 1) for item in (0, 2, 3)]

    def test_what_failed_is_sent_again_when_it_was_read_again(self) -> None:
        job = _job(Checkpoint())
        job.answered(Request(2, 4), 0, 3, Failure("bad", "no"), 0.0)
        assert _sent(job) == []
        job.add_items([1] * 3, 0.0)
        assert _sent(job) == [Request(2, 3), Request(0, 2)]
        job.add_items([1], 0.0)
        assert _sent(job) == [Request(3, 4)]

    @pytest.mark.parametrize(
        "window",
        [Window(items=16, span_bytes=20), Window(items=2, span_items=2), _SMALL],
        ids=["fewer bytes", "fewer items", "a full shell"],
    )
    def test_what_all_others_wait_for_is_read_to_its_end(self, window: Window) -> None:
        job = _job(Checkpoint(), window=window, request_items=2)
        # A process before this one had room for more at a time.
        job.answered(Request(0, 8), 0, 3, Failure.of("result_too_large", "no"), 0.0)
        job.add_items([14, 13], 0.0)
        assert _sent(job) == []
        assert job.items_wanted(has_room=False) == 2
        job.add_items([12], 0.0)
        assert _sent(job) == []
        assert job.items_wanted(has_room=False) == 1
        job.add_items([10], 0.0)
        assert _sent(job) == [Request(0, 4)]
        # The other half is read when its turn comes.
        assert job.items_wanted(has_room=False) == 0

    def test_what_was_answered_meanwhile_is_not_sent_again(self) -> None:
        job = _job(Checkpoint())
        job.answered(Request(0, 8), 0, 3, Failure.of("result_too_large", "no"), 0.0)
        job.answered(Request(1, 2), 0, 4, Answer(), 0.0)
        job.add_items([1] * 8, 0.0)
        assert _sent(job) == [Request(0, 1), Request(2, 4), Request(4, 8)]

    def test_offsets_are_those_of_what_is_not_durable(self) -> None:
        job = _job()
        job.add_items([1] * 12, 0.0)
        job.input_ended()
        kept = job.checkpoint(0.0)
        assert (kept.request_offsets, kept.result_offsets) == ({0: 100}, {0: 50})
        for offset, request in enumerate(_sent(job)):
            job.published(request, 0, 100 + offset, 0.0)
        job.answered(Request(0, 4), 0, 57, Answer(), 0.0)
        job.answered(Request(8, 12), 0, 59, Answer(), 0.0)
        job.results_read(0, 70)
        assert job.checkpoint(0.0).result_offsets == {0: 57}
        (piece,) = job.take_writable()
        assert job.checkpoint(0.0).items_written == 0
        job.written(piece.sequence, 0.0)
        kept = job.checkpoint(0.0)
        assert kept.items_written == 4
        assert (kept.request_offsets, kept.result_offsets) == ({0: 101}, {0: 59})
        job.answered(Request(4, 8), 0, 70, Answer(), 0.0)
        _write(job)
        kept = job.checkpoint(0.0)
        assert (kept.request_offsets, kept.result_offsets) == ({0: 103}, {0: 71})

    def test_what_is_under_way_holds_the_offset_back(self) -> None:
        job = _job(request_items=1, window=Window(requests=9, items=64, span_items=64))
        job.add_items([1] * 3, 0.0)
        first, second, third = _sent(job)
        job.published(second, 0, 105, 0.0)
        job.answered(second, 0, 50, Answer(), 0.0)
        assert job.checkpoint(0.0).request_offsets == {0: 100}
        job.published(first, 0, 103, 0.0)
        job.answered(first, 0, 51, Answer(), 0.0)
        _write(job)
        # The third was handed out when the log ended at 100.
        assert job.checkpoint(0.0).request_offsets == {0: 100}
        job.published(third, 0, 106, 0.0)
        assert job.checkpoint(0.0).request_offsets == {0: 106}


class TestStates:
    def test_a_job_goes_from_running_to_done(self) -> None:
        job = _job()
        assert job.state(0.0) is JobState.RUNNING
        job.add_items([1] * 4, 0.0)
        job.input_ended()
        (request,) = _sent(job)
        assert job.state(0.0) is JobState.DRAINING
        job.answered(request, 0, 50, Answer(), 0.0)
        (piece,) = job.take_writable()
        assert job.state(0.0) is JobState.DRAINING
        job.written(piece.sequence, 0.0)
        assert job.state(0.0) is JobState.DONE

    def test_a_job_without_items_is_done(self) -> None:
        job = _job()
        job.input_ended()
        assert job.state(0.0) is JobState.DONE

    def test_a_job_with_some_failures_is_partial(self) -> None:
        job = _job(request_items=1)
        job.add_items([1] * 2, 0.0)
        job.input_ended()
        _sent(job)
        job.answered(Request(0, 1), 0, 50, Failure("bad", "no"), 0.0)
        job.answered(Request(1, 2), 0, 51, Answer(), 0.0)
        _write(job)
        assert job.state(0.0) is JobState.PARTIAL
        assert job.checkpoint(0.0).items_failed == 1

    def test_a_paused_job_sends_nothing_and_takes_answers(self) -> None:
        job = _job()
        job.add_items([1] * 8, 0.0)
        request = job.next_request(0.0)
        assert request is not None
        job.pause(1.0)
        assert job.state(1.0) is JobState.PAUSED
        assert job.next_request(1.0) is None
        job.answered(request, 0, 50, Answer(), 1.0)
        assert _write(job) == [(0, 4)]
        assert job.progress(3.0).waits_for is WaitsFor.RESUME
        assert job.progress(3.0).waits_s == 2.0
        job.resume()
        assert _sent(job) == [Request(4, 8)]

    def test_a_job_expires_at_its_deadline(self) -> None:
        job = _job(deadline=10.0)
        job.add_items([1] * 8, 0.0)
        assert job.next_request(9.9) == Request(0, 4)
        assert not job.expire(9.9)
        assert job.next_request(10.0) is None
        assert job.state(10.0) is JobState.EXPIRED
        # The item did not fail: there was no time for it.
        job.answered(Request(0, 4), 0, 50, Failure.of("request_expired", "late"), 11.0)
        assert job.take_writable() == []
        later = _job(job.checkpoint(11.0).again(), deadline=20.0)
        later.published(Request(0, 4), 0, 100, 12.0)
        later.add_items([1] * 8, 12.0)
        assert _sent(later, 12.0) == [Request(0, 4, 2), Request(4, 8, 2)]

    def test_a_job_expires_by_the_clock_of_the_service_too(self) -> None:
        job = _job(deadline=10.0)
        job.add_items([1] * 8, 0.0)
        job.input_ended()
        _sent(job)
        job.answered(Request(0, 4), 0, 50, Failure.of("request_expired", "late"), 9.9)
        assert job.state(9.9) is JobState.EXPIRED
        assert job.take_writable() == []

    def test_what_the_service_cancels_is_no_failed_item(self) -> None:
        job = _job()
        job.add_items([1] * 8, 0.0)
        job.input_ended()
        _sent(job)
        job.answered(Request(0, 4), 0, 50, Failure.of("request_cancelled", "by a"), 1.0)
        assert job.state(1.0) is JobState.CANCELLED
        assert job.take_writable() == []
        later = _job(job.checkpoint(1.0).again())
        later.published(Request(0, 4), 0, 100, 2.0)
        later.answered(Request(0, 4), 0, 50, Failure.of("request_cancelled", "by a"), 2.0)
        later.add_items([1] * 8, 2.0)
        assert later.state(2.0) is JobState.RUNNING
        assert _sent(later) == [Request(0, 4, 2), Request(4, 8, 2)]

    @pytest.mark.parametrize("deadline", [None, 100.0])
    def test_what_expires_by_a_former_deadline_is_sent_again(self, deadline: float | None) -> None:
        job = _job(Checkpoint(), deadline=deadline)
        job.published(Request(0, 4), 0, 7, 0.0)
        job.requests_scanned(0, 8)
        job.add_items([1] * 4, 0.0)
        job.input_ended()
        expired = Failure.of("request_expired", "late")
        job.answered(Request(0, 4), 0, 3, expired, 1.0)
        assert _sent(job) == [Request(0, 4, 2)]
        # A repeat changes nothing.
        job.answered(Request(0, 4), 0, 4, expired, 1.0)
        assert job.state(1.0) is JobState.DRAINING
        job.answered(Request(0, 4, 2), 0, 5, Answer(), 2.0)
        assert _write(job) == [(0, 4)]
        assert job.state(2.0) is JobState.DONE

    def test_a_job_that_is_done_does_not_expire(self) -> None:
        job = _job(deadline=10.0)
        job.input_ended()
        job.cancel()
        assert job.state(11.0) is JobState.DONE

    def test_an_ending_and_a_pause_are_kept(self) -> None:
        job = _job()
        job.add_items([1], 0.0)
        job.pause(0.0)
        assert _job(job.checkpoint(0.0)).state(0.0) is JobState.PAUSED
        job.cancel()
        assert _job(job.checkpoint(0.0)).state(0.0) is JobState.CANCELLED

    def test_a_shell_can_give_up(self) -> None:
        job = _job()
        job.give_up(Failure("topic_gone", "the results topic was deleted"))
        assert job.state(0.0) is JobState.FAILED


def test_the_settings_name_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="requests: must be at least 1, is 0"):
        Window(requests=0)
    with pytest.raises(ValueError, match="span_items: 10 is less than the 32768"):
        Window(span_items=10)
    with pytest.raises(ValueError, match="attempts: must be at least 1"):
        JobSettings(attempts=0)
    with pytest.raises(ValueError, match="request_items: 64 is more than the 8"):
        JobSettings(window=Window(items=8))
