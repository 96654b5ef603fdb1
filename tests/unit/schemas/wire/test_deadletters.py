"""What a dead letter's headers keep through replays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.engine.offsets.ledger import PartitionLedger
from consumer.engine.outcomes.messages import OutcomeMessages
from consumer.engine.work import PartitionAssignment, WorkItem
from consumer.ports import Record, TopicPartition
from schemas.wire import headers
from schemas.wire.deadletters import (
    MAX_HISTORY_BYTES,
    DeadLetterHeaders,
    Failure,
    read_failures,
    read_replays,
    replayed_headers,
    split_headers,
)
from schemas.wire.headers import Headers
from schemas.wire.results import ErrorCode

OUTCOMES = OutcomeMessages(
    route="r",
    model="m",
    results_topic="out",
    dead_letters_topic="dead",
    max_result_bytes=1000,
    fail_with_result=True,
)
NAMES = st.sampled_from(["own", headers.SOURCE, headers.JOB, headers.ATTEMPTS, headers.FAILURES])
HEADERS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=8)), max_size=6)


def failure(number: int) -> Failure:
    return Failure(error_code="model_failed", source=f"in/0/{number}", failed_at=number)


def fail(record_headers: Headers, offset: int) -> Headers:
    record = Record(TopicPartition("in", 0), offset, b"k", b"v", record_headers, 0)
    ledger = PartitionLedger(None, 4096)
    assignment = PartitionAssignment(record.partition, ledger, None)
    item = WorkItem(assignment, record, "c", deadline_ms=None, received_at_s=0.0, held_bytes=0)
    letter, _result = OUTCOMES.dead_letter(item, ErrorCode.MODEL_FAILED, "why", 1.0, offset)
    return list(letter.headers)


@given(HEADERS)
def test_the_requests_own_headers_are_told_from_ours(own: Headers) -> None:
    request_headers, added = split_headers(fail(own, 7))

    assert request_headers == own
    assert added[0] == (headers.SOURCE, b"in/0/7")


def test_a_record_that_fails_again_and_again_tells_of_all_its_failures() -> None:
    record_headers: Headers = [("own", b"1"), (headers.DEADLINE, b"5")]
    for offset in range(1, 4):
        letter_headers = fail(record_headers, offset)
        request_headers, _added = split_headers(letter_headers)
        record_headers = replayed_headers(request_headers, failure(offset))

    assert record_headers[:2] == [("own", b"1"), (headers.DEADLINE, b"5")]
    assert [name for name, _ in record_headers[2:]] == [headers.REPLAYS, headers.FAILURES]
    assert read_replays(record_headers) == 3
    assert [each.source for each in read_failures(record_headers)] == ["in/0/1", "in/0/2", "in/0/3"]
    assert headers.echo(record_headers) == [("own", b"1"), (headers.REPLAYS, b"3")]
    last = DeadLetterHeaders.read(fail(record_headers, 9))
    assert (last.source, last.replays) == ("in/0/9", "3")


def test_deadlines_may_be_left_out() -> None:
    own = [(headers.DEADLINE, b"5"), ("own", b"1")]

    kept = replayed_headers(own, failure(1), keeps_deadline=False)

    assert [name for name, _ in kept] == ["own", headers.REPLAYS, headers.FAILURES]


def test_a_long_history_keeps_its_first_and_its_newest() -> None:
    record_headers: Headers = []
    for number in range(200):
        record_headers = replayed_headers(record_headers, failure(number))

    assert read_replays(record_headers) == 200
    numbers = [each.failed_at for each in read_failures(record_headers)]
    assert numbers[0] == 0
    assert numbers[1:] == list(range(numbers[1], 200))
    assert len(dict(record_headers)[headers.FAILURES] or b"") <= MAX_HISTORY_BYTES


@given(st.binary(max_size=40))
def test_what_others_write_there_is_no_history(value: bytes) -> None:
    spoofed = [(headers.FAILURES, value), (headers.REPLAYS, value)]

    replayed = replayed_headers(spoofed, failure(1))

    assert read_failures(replayed)[-1] == failure(1)
    assert read_replays(replayed) >= 1


@pytest.mark.parametrize("text", ["\x00" * 200, "\N{GRINNING FACE}" * 200])
def test_the_longest_messages_fit(text: str) -> None:
    long = Failure(error_code="e", error_message=text, source="s" * 300, failed_at=1)
    replayed = replayed_headers([], long)

    assert read_failures(replayed) == [long]
    again = replayed_headers(replayed, long)
    assert long in read_failures(again)


def test_a_replay_asks_for_the_same_reply_topic() -> None:
    failure = Failure(error_code="reply_topic_missing", source="in/0/7", failed_at=1)
    own = [("headrace-reply-topic", b"bulk-1"), ("x", b"1")]

    assert replayed_headers(own, failure)[:2] == own
    assert replayed_headers(own, failure, keeps_deadline=False)[:2] == own
