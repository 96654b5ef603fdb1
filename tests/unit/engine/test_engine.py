"""The engine's decisions, one behaviour a test."""

from collections.abc import Callable

import orjson
import pytest

from consumer.engine.engine import Engine
from consumer.engine.work import Call, ModelContractError
from consumer.ports import Message, OffsetAndMetadata, SourceError
from handoff.chunk import Chunk, Outcomes
from schemas.wire.control import ControlRecord
from tests.engines import P0, P1, answer, line, make_engine, next_call, publish_all, record
from tests.simulation import EPOCH_MS

NOTHING = {P0: None, P1: None}


def headers_of(message: Message) -> dict[str, bytes]:
    return {name: value or b"" for name, value in message.headers}


def test_a_record_goes_all_the_way_and_is_committed_only_when_acknowledged() -> None:
    engine = make_engine()
    engine.assign(NOTHING)
    engine.deliver([record(5, key=b"k", headers=[("traceparent", b"00-1")])], 0.0, EPOCH_MS)
    call, chunk = next_call(engine, 0.5, EPOCH_MS)
    assert engine.next_call(0.5, EPOCH_MS) is None
    answer(call, chunk, engine, now_s=2.0)
    (publication,) = engine.take_publications(10, 1 << 20)

    assert engine.offsets_and_metadata() == {P0: OffsetAndMetadata(5, "")}
    messages = publication.messages
    engine.acknowledged([publication])
    assert engine.offsets_and_metadata() == {P0: OffsetAndMetadata(6, "")}
    assert engine.held_records == engine.held_bytes == 0

    (message,) = messages
    assert message.topic == "results"
    assert message.key == b"k"
    result = orjson.loads(message.value or b"")
    assert result == {
        "id": "requests-0-5",
        "custom_id": "0-5",
        "response": {"status_code": 200, "request_id": "requests-0-5", "body": {"object": "list"}},
        "error": None,
    }
    headers = headers_of(message)
    assert headers["traceparent"] == b"00-1"
    assert headers["headrace-source"] == b"requests/0/5"
    assert headers["headrace-attempts"] == b"1"
    assert headers["headrace-model"] == b"minilm"
    assert headers["headrace-timings"] == b"queued_ms=500.0,model_ms=1500.0"


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (b"not json", b"invalid_json"),
        (b"", b"invalid_json"),
        ("{}".encode("utf-16"), b"invalid_json"),
        (b'\xff{"custom_id":"a"}', b"invalid_json"),
        (b'{"custom_id":"\\ud800","url":"/v1/embeddings","body":{}}', b"invalid_json"),
        (b"[" * 5_000, b"invalid_json"),
        (b"[]", b"invalid_request_line"),
        (b"null", b"invalid_request_line"),
        (b'{"url":"/v1/embeddings","body":{}}', b"invalid_request_line"),
        (b'{"custom_id":"","url":"/v1/embeddings","body":{}}', b"invalid_request_line"),
        (b'{"custom_id":"' + b"a" * 15_000 + b'"}', b"request_too_large"),
    ],
)
def test_an_unreadable_record_is_a_dead_letter_and_costs_its_neighbours_nothing(
    value: bytes, code: bytes
) -> None:
    engine = make_engine()
    engine.assign(NOTHING)
    bad = record(1, value, key=b"\x00\xff", headers=[("own", b"\x80")])
    engine.deliver([record(0), bad, record(2)], 0.0, EPOCH_MS)
    call, chunk = next_call(engine, 0.0, EPOCH_MS)
    assert len(chunk.lines) == 2
    answer(call, chunk, engine)
    letters = [m for p in publish_all(engine) for m in p.messages if m.topic == "dead-letters"]
    (letter,) = letters
    assert (letter.key, letter.value) == (b"\x00\xff", value)
    assert letter.headers[0] == ("own", b"\x80")
    assert headers_of(letter)["headrace-error-code"] == code
    assert engine.offsets_and_metadata() == {P0: OffsetAndMetadata(3, "")}


@pytest.mark.parametrize(
    ("value", "custom_id", "code", "param"),
    [
        (line(body=[]), "a", "invalid_request_line", "body"),
        (line(method="GET"), "a", "invalid_request_line", "method"),
        (line(url=7), "a", "invalid_request_line", "url"),
        (line(custom_id=7), "7", "invalid_request_line", "custom_id"),
        (
            b'{"custom_id":"a","url":"/v1/embeddings","body":{"x":NaN}}',
            "a",
            "invalid_json",
            None,
        ),
    ],
)
def test_a_broken_line_whose_id_can_be_read_is_answered_and_is_no_dead_letter(
    value: bytes, custom_id: str, code: str, param: str | None
) -> None:
    engine = make_engine()
    engine.assign(NOTHING)
    engine.deliver([record(0, value, key=b"k")], 0.0, EPOCH_MS)
    ((message,),) = [publication.messages for publication in publish_all(engine)]
    assert (message.topic, message.key) == ("results", b"k")
    result = orjson.loads(message.value or b"")
    error = result["response"]["body"]["error"]
    assert (result["custom_id"], result["response"]["status_code"]) == (custom_id, 400)
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param)
    assert engine.offsets_and_metadata() == {P0: OffsetAndMetadata(1, "")}


def test_who_waits_for_a_request_that_is_too_large_is_told() -> None:
    engine = make_engine()
    engine.assign(NOTHING)
    engine.deliver([record(0, line("big", body={"input": "x" * 20_000}))], 0.0, EPOCH_MS)
    (publication,) = publish_all(engine)
    letter, message = publication.messages
    assert headers_of(letter)["headrace-error-code"] == b"request_too_large"
    result = orjson.loads(message.value or b"")
    assert (result["custom_id"], result["error"]["code"]) == ("big", "request_too_large")


@pytest.mark.parametrize("timestamp_ms", [None, -1, -62_135_596_800_000])
def test_a_request_without_a_timestamp_runs_and_can_be_cancelled(timestamp_ms: int | None) -> None:
    engine = make_engine()
    engine.assign(NOTHING)
    control = ControlRecord(action="cancel", route="embeddings", whole_route=True)
    engine.backlog.cancel([(control, EPOCH_MS)], 0.0, EPOCH_MS)
    engine.deliver([record(0)._replace(timestamp_ms=timestamp_ms)], 1.0, EPOCH_MS + 1_000)
    assert engine.queued_records == 1
    assert engine.backlog.cancel([(control, EPOCH_MS + 2_000)], 2.0, EPOCH_MS + 2_000) == 1
    assert engine.queued_records == 0


def test_a_record_that_could_not_be_read_is_a_dead_letter() -> None:
    engine = make_engine()
    engine.assign(NOTHING)
    unread = record(0, tombstone=True)._replace(problem="its batch unpacks to too much")
    engine.deliver([unread], 0.0, EPOCH_MS)
    ((letter,),) = [publication.messages for publication in publish_all(engine)]
    assert (letter.topic, letter.value) == ("dead-letters", None)
    assert headers_of(letter)["headrace-error-code"] == b"request_too_large"
    assert headers_of(letter)["headrace-error-message"] == b"its batch unpacks to too much"
    assert engine.offsets_and_metadata() == {P0: OffsetAndMetadata(1, "")}


def test_a_tombstone_is_skipped_and_counted() -> None:
    engine = make_engine()
    engine.assign(NOTHING)
    engine.deliver([record(0, tombstone=True)], 0.0, EPOCH_MS)
    assert engine.next_call(0.0, EPOCH_MS) is None
    assert not engine.has_publications
    assert engine.counters.skipped_records == 1
    assert engine.offsets_and_metadata() == {P0: OffsetAndMetadata(1, "")}


def test_an_unknown_url_is_a_result_with_404() -> None:
    engine = make_engine()
    engine.assign(NOTHING)
    engine.deliver([record(0, line(url="/v1/chat/completions"))], 0.0, EPOCH_MS)
    (publication,) = publish_all(engine)
    result = orjson.loads(publication.messages[0].value or b"")
    assert result["response"]["status_code"] == 404
    assert "/v1/embeddings" in result["response"]["body"]["error"]["message"]


def test_of_two_deadlines_the_last_counts() -> None:
    engine = make_engine()
    engine.assign(NOTHING)
    past, future = (("headrace-deadline", b"%d" % (EPOCH_MS + ms)) for ms in (-1_000, 1_000))
    engine.deliver([record(0, headers=[past, future])], 0.0, EPOCH_MS)
    engine.deliver([record(1, headers=[future, past])], 0.0, EPOCH_MS)
    engine.deliver([record(2, headers=[past, ("headrace-deadline", None)])], 0.0, EPOCH_MS)
    assert [p.item.record.offset for p in publish_all(engine)] == [1]
    assert engine.counters.expired_records == 1


@pytest.mark.parametrize("status", [200, 501])
def test_a_header_without_a_value_comes_back_without_one(status: int) -> None:
    engine = make_engine()
    engine.assign(NOTHING)
    engine.deliver([record(0, headers=[("own", None), ("empty", b"")])], 0.0, EPOCH_MS)
    answer(*next_call(engine, 0.0, EPOCH_MS), engine, status=status)
    (publication,) = publish_all(engine)
    for message in publication.messages:
        assert list(message.headers)[:2] == [("own", None), ("empty", b"")]


def test_deadlines_expire_on_arrival_in_the_queue_and_at_dispatch() -> None:
    engine = make_engine()
    engine.assign(NOTHING)

    def due(ms: int) -> list[tuple[str, bytes | None]]:
        return [("headrace-deadline", b"%d" % (EPOCH_MS + ms))]

    engine.deliver([record(0, headers=due(-1)), record(1, headers=due(500))], 0.0, EPOCH_MS)
    assert engine.next_due_in_s(0.0, EPOCH_MS) == pytest.approx(0.5)
    assert [p.item.record.offset for p in publish_all(engine)] == [0]
    engine.advance(0.5, EPOCH_MS + 500)
    assert engine.queued_records == 0
    (publication,) = publish_all(engine)
    assert orjson.loads(publication.messages[0].value or b"")["error"]["code"] == "request_expired"

    engine.deliver([record(2, headers=due(800)), record(3)], 0.6, EPOCH_MS + 600)
    call, chunk = next_call(engine, 0.9, EPOCH_MS + 900)
    assert chunk.lines == [line("0-3")]
    answer(call, chunk, engine)
    assert engine.counters.expired_records == 3


@pytest.mark.parametrize("value", [b"soon", b"", b"-5", b"1_000", b"9" * 5_000, b"\xff"])
def test_a_malformed_deadline_counts_as_none(value: bytes) -> None:
    engine = make_engine()
    engine.assign(NOTHING)
    engine.deliver([record(0, headers=[("headrace-deadline", value)])], 0.0, EPOCH_MS)
    assert engine.next_call(0.0, EPOCH_MS) is not None


def test_a_poison_record_that_kills_its_replica_ends_alone_as_a_dead_letter() -> None:
    engine = make_engine(max_attempts=5, chunk_records=256)
    engine.assign(NOTHING)
    engine.deliver([record(offset) for offset in range(256)], 0.0, EPOCH_MS)
    now_s = 1.0
    for _ in range(10_000):
        engine.advance(now_s, EPOCH_MS)
        call_and_chunk = engine.next_call(now_s, EPOCH_MS)
        if call_and_chunk is None:
            due = engine.next_due_in_s(now_s, EPOCH_MS)
            if due is None:
                break
            now_s += due
            continue
        call, chunk = call_and_chunk
        if line("0-77") in chunk.lines:
            engine.end_call(call, "the replica died", now_s, EPOCH_MS)
        else:
            answer(call, chunk, engine, now_s=now_s)
    messages = [m for p in publish_all(engine) for m in p.messages]
    letters = [m for m in messages if m.topic == "dead-letters"]
    assert [m.value for m in letters] == [line("0-77")]
    assert 5 <= int(headers_of(letters[0])["headrace-attempts"]) <= 8
    results = [orjson.loads(m.value or b"") for m in messages if m.topic == "results"]
    assert len(results) == 256
    failed = [r for r in results if r["error"]]
    assert [(r["custom_id"], r["error"]["code"]) for r in failed] == [("0-77", "model_failed")]
    assert engine.offsets_and_metadata() == {P0: OffsetAndMetadata(256, "")}


def test_outcomes_of_a_lost_partition_are_dropped_and_those_of_a_kept_one_go_on() -> None:
    engine = make_engine()
    engine.assign({P0: None, P1: None})
    engine.deliver([record(0), record(0, partition=P1)], 0.0, EPOCH_MS)
    call, chunk = next_call(engine, 0.0, EPOCH_MS)
    engine.suspend()
    change = engine.assign({P0: None})
    assert change.kept == [P0]
    assert change.seeks == {P0: 1}
    assert [lost.partition for lost in change.lost] == [P1]
    assert call.is_wanted()
    answer(call, chunk, engine)
    assert [p.item.record.partition for p in publish_all(engine)] == [P0]
    assert engine.held_records == engine.in_flight_records == 0


def test_a_partition_comes_back_fresh_when_somebody_else_committed_in_between() -> None:
    engine = make_engine()
    engine.assign({P0: None})
    engine.deliver([record(0), record(1)], 0.0, EPOCH_MS)
    call, chunk = next_call(engine, 0.0, EPOCH_MS)
    engine.suspend()
    change = engine.assign({P0: OffsetAndMetadata(1, "")})
    assert change.kept == []
    assert change.seeks == {P0: 1}
    assert not call.is_wanted()
    answer(call, chunk, engine)
    assert publish_all(engine) == []
    engine.deliver([record(1)], 0.0, EPOCH_MS)
    assert engine.queued_records == 1


def test_a_partition_is_kept_after_a_commit_whose_answer_was_lost() -> None:
    engine = make_engine()
    engine.assign({P0: OffsetAndMetadata(0, "")})
    engine.deliver([record(0), record(1)], 0.0, EPOCH_MS)
    call, chunk = next_call(engine, 0.0, EPOCH_MS)
    answer(call, chunk, engine)
    publish_all(engine)
    points = engine.offsets_and_metadata()  # sent, but the acknowledgement never came
    engine.suspend()
    assert engine.assign(points).kept == [P0]


def test_while_suspended_only_what_was_decided_before_is_published() -> None:
    engine = make_engine()
    engine.assign({P0: None, P1: None})
    engine.deliver([record(0), record(0, partition=P1)], 0.0, EPOCH_MS)
    call, _ = next_call(engine, 0.0, EPOCH_MS)
    first = Outcomes("replica-1", 64)
    first.add(0, 200, b"{}")
    engine.take_outcomes(call, first, 0.1, EPOCH_MS)
    engine.suspend()
    second = Outcomes("replica-1", 64)
    second.add(1, 200, b"{}")
    engine.take_outcomes(call, second, 0.2, EPOCH_MS)
    assert [p.item.record.partition for p in publish_all(engine)] == [P0]
    assert not engine.has_publications
    engine.assign({P0: None, P1: None})
    assert [p.item.record.partition for p in publish_all(engine)] == [P1]


def test_nothing_is_taken_in_while_suspended() -> None:
    engine = make_engine()
    engine.assign({P0: None})
    engine.suspend()
    engine.deliver([record(0)], 0.0, EPOCH_MS)
    assert engine.held_records == 0
    assert engine.allowance().partitions == []


def test_a_result_over_the_limit_becomes_an_error() -> None:
    engine = make_engine(max_result_bytes=300)
    engine.assign(NOTHING)
    engine.deliver([record(0)], 0.0, EPOCH_MS)
    call, _ = next_call(engine, 0.0, EPOCH_MS)
    outcomes = Outcomes("replica-1", 64)
    outcomes.add(0, 200, b'"' + b"x" * 1_000 + b'"')
    engine.take_outcomes(call, outcomes, 0.1, EPOCH_MS)
    (publication,) = publish_all(engine)
    result = orjson.loads(publication.messages[0].value or b"")
    assert result["error"]["code"] == "result_too_large"


def test_admission_closes_at_its_limits_and_opens_with_room_to_spare() -> None:
    engine = make_engine(max_records=80, chunk_records=128)
    engine.assign(NOTHING)
    assert engine.allowance().records == 80
    engine.deliver([record(offset) for offset in range(80)], 0.0, EPOCH_MS)
    assert engine.allowance().partitions == []
    call, chunk = next_call(engine, 0.0, EPOCH_MS)
    outcomes = Outcomes("replica-1", 64)
    for index in range(9):
        outcomes.add(index, 200, b"{}")
    engine.take_outcomes(call, outcomes, 0.1, EPOCH_MS)
    publish_all(engine)
    assert engine.allowance().partitions == []
    rest = Outcomes("replica-1", 64)
    for index in range(9, len(chunk.lines)):
        rest.add(index, 200, b"{}")
    engine.take_outcomes(call, rest, 0.2, EPOCH_MS)
    publish_all(engine)
    assert engine.allowance().records >= 10


def test_admission_counts_bytes_of_results_until_they_are_acknowledged() -> None:
    engine = make_engine(max_bytes=5_000, max_result_bytes=100_000)
    engine.assign(NOTHING)
    engine.deliver([record(0)], 0.0, EPOCH_MS)
    call, _ = next_call(engine, 0.0, EPOCH_MS)
    outcomes = Outcomes("replica-1", 64)
    outcomes.add(0, 200, b'"' + b"x" * 6_000 + b'"')
    engine.take_outcomes(call, outcomes, 0.1, EPOCH_MS)
    assert engine.allowance().partitions == []
    publish_all(engine)
    assert engine.allowance().partitions == [P0, P1]


def test_a_partition_near_its_metadata_limit_waits_while_others_are_read() -> None:
    engine = make_engine(metadata_limit_characters=256, max_records=100_000)
    engine.assign({P0: OffsetAndMetadata(0, ""), P1: OffsetAndMetadata(0, "")})
    sparse = [record(offset * 1_000) for offset in range(200)]
    rewinds = engine.deliver(sparse, 0.0, EPOCH_MS)
    assert list(rewinds) == [P0]
    taken = rewinds[P0] // 1_000
    assert 20 < taken < 200
    allowance = engine.allowance()
    assert allowance.partitions == [P1]
    assert allowance.is_restricted
    while (call_and_chunk := engine.next_call(0.0, EPOCH_MS)) is not None:
        answer(*call_and_chunk, engine)
    publish_all(engine)
    assert engine.allowance().partitions == [P0, P1]
    assert engine.deliver(sparse[taken:], 1.0, EPOCH_MS) != {P0: rewinds[P0]}


def test_an_unreadable_committed_map_falls_back_to_the_offset_and_says_so() -> None:
    engine = make_engine()
    change = engine.assign({P0: OffsetAndMetadata(40, "another program's")})
    assert change.seeks == {P0: 40}
    assert P0 in change.unreadable


def test_a_clean_stop_leaves_waiting_records_to_the_next_owner() -> None:
    engine = make_engine(chunk_records=4)
    engine.assign({P0: OffsetAndMetadata(0, "")})
    engine.deliver([record(offset) for offset in range(100)], 0.0, EPOCH_MS)
    calls = []
    while (call_and_chunk := engine.next_call(0.0, EPOCH_MS)) is not None:
        calls.append(call_and_chunk)
    in_flight = engine.in_flight_records
    assert 0 < in_flight < 100
    engine.stop_intake()
    assert engine.next_call(0.0, EPOCH_MS) is None
    for call, chunk in calls:
        answer(call, chunk, engine)
    publish_all(engine)
    assert engine.offsets_and_metadata() == {P0: OffsetAndMetadata(in_flight, "")}
    assert engine.held_records == 0


def test_what_finished_during_a_rebalance_is_not_published_for_a_partition_that_left() -> None:
    engine = make_engine()
    engine.assign({P0: None, P1: None})
    engine.deliver([record(0), record(0, partition=P1)], 0.0, EPOCH_MS)
    call, chunk = next_call(engine, 0.0, EPOCH_MS)
    engine.suspend()
    answer(call, chunk, engine)
    engine.assign({P0: None})
    assert [p.item.record.partition for p in publish_all(engine)] == [P0]
    assert engine.held_records == engine.held_bytes == 0


def test_late_outcomes_of_a_lost_partition_count_for_nothing() -> None:
    engine = make_engine()
    engine.assign({P0: None})
    engine.deliver([record(0), record(1)], 0.0, EPOCH_MS)
    call, chunk = next_call(engine, 0.0, EPOCH_MS)
    engine.suspend()
    engine.assign({})
    answer(call, chunk, engine, status=500)
    assert engine.counters.answered_records == engine.counters.retried_records == 0
    assert engine.next_due_in_s(0.0, EPOCH_MS) is None
    assert engine.held_records == engine.held_bytes == engine.in_flight_records == 0


def run_for(
    engine: Engine,
    seconds: float,
    respond: Callable[[Call, Chunk, float], None],
    start_s: float = 1.0,
) -> int:
    """Dispatch for some simulated seconds; ``respond`` ends each call."""
    now_s = start_s
    calls = 0
    while now_s < start_s + seconds:
        engine.advance(now_s, EPOCH_MS)
        call_and_chunk = engine.next_call(now_s, EPOCH_MS)
        if call_and_chunk is not None:
            calls += 1
            respond(*call_and_chunk, now_s)
            continue
        due = engine.next_due_in_s(now_s, EPOCH_MS)
        if due is None:
            break
        now_s += max(due, 0.001)
    return calls


def test_a_model_that_is_down_costs_no_record_its_attempts() -> None:
    engine = make_engine(max_attempts=3, chunk_records=64)
    engine.assign(NOTHING)
    engine.deliver([record(offset) for offset in range(500)], 0.0, EPOCH_MS)

    def die(call: Call, _chunk: Chunk, now_s: float) -> None:
        engine.end_call(call, "the replica died", now_s, EPOCH_MS)

    calls = run_for(engine, 120, die)
    assert calls < 40  # probes, not a storm
    assert not engine.has_publications
    run_for(engine, 60, lambda call, chunk, now_s: answer(call, chunk, engine, now_s=now_s), 130.0)
    assert engine.counters.answered_records == 500
    assert engine.counters.dead_letter_records == 0


def test_a_lone_record_that_always_kills_its_replica_is_given_up_in_the_end() -> None:
    engine = make_engine(max_attempts=3)
    engine.assign(NOTHING)
    engine.deliver([record(0)], 0.0, EPOCH_MS)
    run_for(engine, 900, lambda call, _c, now_s: engine.end_call(call, "died", now_s, EPOCH_MS))
    assert engine.counters.dead_letter_records == 1


@pytest.mark.parametrize(
    ("index", "status", "body"),
    [(-1, 200, b"{}"), (1, 200, b"{}"), (0, 200, "{}"), (0, None, b"{}")],
)
def test_outcomes_that_break_their_promise_count_for_nothing(
    index: int, status: int | None, body: bytes | str
) -> None:
    engine = make_engine()
    engine.assign(NOTHING)
    engine.deliver([record(0)], 0.0, EPOCH_MS)
    call, _ = next_call(engine, 0.0, EPOCH_MS)
    outcomes = Outcomes("replica-1", 64)
    outcomes.add(index, status, body)  # type: ignore[arg-type] # what no model may answer
    with pytest.raises(ModelContractError):
        engine.take_outcomes(call, outcomes, 0.1, EPOCH_MS)
    engine.end_call(call, "broken \ud800 promise", 0.1, EPOCH_MS)
    assert engine.counters.retried_records == 1
    assert engine.in_flight_records == 0


def test_a_log_that_went_backwards_ends_the_engine_rather_than_hiding_records() -> None:
    engine = make_engine()
    engine.assign({P0: OffsetAndMetadata(1_000, "")})
    with pytest.raises(SourceError, match="created again"):
        engine.deliver([record(0)], 0.0, EPOCH_MS)


def test_deadlines_of_finished_records_are_forgotten() -> None:
    engine = make_engine(max_records=100_000, max_bytes=1 << 30)
    engine.assign(NOTHING)
    late = [("headrace-deadline", b"%d" % (EPOCH_MS + 3_600_000))]
    for start in range(0, 10_000, 50):
        fresh = [record(start + each, headers=late) for each in range(50)]
        engine.deliver(fresh, 0.0, EPOCH_MS)
        while (call_and_chunk := engine.next_call(0.0, EPOCH_MS)) is not None:
            answer(*call_and_chunk, engine)
        publish_all(engine)
        engine.advance(0.0, EPOCH_MS)
    assert len(engine.backlog.deadlines) < 2_000


def test_tokens_that_a_model_counted_are_added_up() -> None:
    engine = make_engine()
    engine.assign({P0: None})
    engine.deliver([record(0), record(1), record(2)], 0.0, EPOCH_MS)
    call, _ = next_call(engine, 0.0, EPOCH_MS)
    outcomes = Outcomes("replica-1", 64)
    outcomes.add(0, 200, b"{}", 120)
    outcomes.add(1, 400, b"{}")
    outcomes.add(2, 200, b"{}", 30)
    engine.take_outcomes(call, outcomes, 0.1, EPOCH_MS)

    assert (engine.counters.measured_records, engine.counters.measured_tokens) == (2, 150)


def test_a_replica_at_work_on_a_long_record_takes_nothing_from_the_others() -> None:
    engine = make_engine(chunk_records=2)
    engine.assign(NOTHING)
    engine.deliver([record(offset) for offset in range(200)], 0.0, EPOCH_MS)
    long, _ = next_call(engine, 0.0, EPOCH_MS)
    call, chunk = next_call(engine, 0.0, EPOCH_MS)
    engine.take_outcomes(long, Outcomes("busy", 1), 0.0, EPOCH_MS)
    answered = 0
    for now_s in range(5, 600, 5):
        answer(call, chunk, engine, now_s=float(now_s), replica="quick", window_records=1)
        answered += len(chunk.lines)
        engine.advance(now_s, EPOCH_MS)
        call, chunk = next_call(engine, now_s, EPOCH_MS)
        engine.take_outcomes(call, Outcomes("quick", 1), now_s, EPOCH_MS)
        assert engine.next_call(now_s, EPOCH_MS) is None
    assert answered == 119
    assert sorted(engine.calls.windows.replicas) == ["busy", "quick"]


def test_a_chunk_says_how_much_the_consumer_wants_of_each_replica() -> None:
    engine = make_engine(chunk_records=4)
    engine.assign(NOTHING)
    engine.deliver([record(offset) for offset in range(20)], 0.0, EPOCH_MS)
    one, first = next_call(engine, 0.0, EPOCH_MS)
    two, second = next_call(engine, 0.0, EPOCH_MS)
    assert (first.wanted_records, second.wanted_records) == (20, 20)
    engine.take_outcomes(one, Outcomes("one", 8), 0.0, EPOCH_MS)
    engine.take_outcomes(two, Outcomes("two", 8), 0.0, EPOCH_MS)
    _, third = next_call(engine, 0.0, EPOCH_MS)
    assert third.wanted_records == 10
