"""A request names the topic of its result: allowed or refused, there or missing."""

import orjson
import pytest

from consumer.engine.engine import Engine
from consumer.engine.replies.look_ups import MISSING_S
from consumer.engine.replies.parked import GIVE_UP_S, MAX_BACKOFF_S
from consumer.ports import Message, OffsetAndMetadata, Rejection
from schemas.wire.headers import DEADLINE, JOB, REPLY_TOPIC, Headers
from tests.engines import P0, answer, line, make_engine, next_call, publish_all, record
from tests.simulation import EPOCH_MS

ALLOWED = ("bulk-*", "team-a.replies")


def to(topic: bytes | None) -> Headers:
    return [(JOB, b"j"), (REPLY_TOPIC, topic)]


def engine_of(max_records: int = 1_000) -> Engine:
    engine = make_engine(reply_topics=ALLOWED, max_records=max_records)
    engine.assign({P0: OffsetAndMetadata(0, "")})
    return engine


def deliver(engine: Engine, offset: int, topic: bytes | None = b"bulk-1", now_s: float = 0) -> None:
    engine.deliver([record(offset, headers=to(topic))], now_s, EPOCH_MS)


def look_up(engine: Engine, *missing: str, now_s: float = 0.0) -> list[str]:
    topics = engine.look_ups.take_due()
    engine.backlog.looked_up(topics, set(missing), now_s, EPOCH_MS)
    return topics


def compute(engine: Engine, now_s: float = 0.0, status: int = 200) -> None:
    answer(*next_call(engine, now_s, EPOCH_MS), engine, status=status, now_s=now_s)


def answered(engine: Engine, offset: int = 0) -> list[Message]:
    """Answer a record whose topic exists, and return its messages."""
    deliver(engine, offset)
    if engine.look_ups.is_due:
        look_up(engine)
    compute(engine)
    return taken(engine)


def taken(engine: Engine) -> list[Message]:
    return [each for item in engine.take_publications(100, 1 << 30) for each in item.messages]


def refuse(engine: Engine, messages: list[Message], now_s: float = 0.0, **why: bool) -> None:
    for each in messages:
        why_not = [Rejection(each, "topic bulk-1 says no", **why)]
        assert engine.rejected(each.item, why_not, now_s, EPOCH_MS)


def codes(messages: list[Message]) -> list[tuple[str, str]]:
    """The topic of each message, and its code."""
    found = []
    for message in messages:
        if message.topic == "dead-letters":
            code = (dict(message.headers)["headrace-error-code"] or b"").decode()
        else:
            value = orjson.loads(message.value or b"")
            error = value["error"] or value["response"]["body"].get("error", {"code": "none"})
            code = error["code"]
        found.append((message.topic, code))
    return found


def test_a_result_goes_to_the_topic_that_its_request_names() -> None:
    engine = engine_of()
    engine.deliver(
        [
            record(0, headers=to(b"bulk-7")),
            record(1, headers=to(b"team-a.replies")),
            record(2, headers=[(JOB, b"j")]),
            record(3),
        ],
        0.0,
        EPOCH_MS,
    )
    assert look_up(engine) == ["bulk-7", "team-a.replies"]
    compute(engine)
    messages = sorted(taken(engine), key=lambda each: each.item.record.offset)
    assert [each.topic for each in messages] == ["bulk-7", "team-a.replies", "results", "results"]
    assert dict(messages[0].headers)[REPLY_TOPIC] == b"bulk-7"


@pytest.mark.parametrize(
    "topic",
    [b"other", b"bulk", b"team-a.replies2", b"bulk-\xff", b"bulk-/", b"bulk-" + b"x" * 250, b""],
)
def test_a_topic_that_no_pattern_allows_is_refused_before_the_model_works(topic: bytes) -> None:
    engine = engine_of()
    deliver(engine, 0, topic)
    assert engine.next_call(0.0, EPOCH_MS) is None
    assert not engine.look_ups.is_due
    (message,) = taken(engine)
    assert message.topic == "results"
    response = orjson.loads(message.value or b"")["response"]
    assert response["status_code"] == 400
    error = response["body"]["error"]
    assert (error["code"], error["param"]) == ("reply_topic_refused", REPLY_TOPIC)
    assert "bulk-*, team-a.replies" in error["message"]


def test_a_header_without_a_value_is_refused_too() -> None:
    engine = engine_of()
    deliver(engine, 0, None)
    assert codes(taken(engine)) == [("results", "reply_topic_refused")]


def test_a_route_that_allows_none_says_so() -> None:
    engine = make_engine()
    engine.assign({P0: None})
    deliver(engine, 0)
    (message,) = taken(engine)
    assert b"this route allows none (reply_topics)" in (message.value or b"")


def test_the_last_header_counts() -> None:
    engine = engine_of()
    engine.deliver([record(0, headers=[*to(b"other"), *to(b"bulk-1")])], 0.0, EPOCH_MS)
    look_up(engine)
    compute(engine)
    assert [each.topic for each in taken(engine)] == ["bulk-1"]


def test_refusals_and_dead_letters_results_go_to_the_reader_who_waits() -> None:
    engine = engine_of()
    refused = record(0, line("a", url="/v1/other"), headers=to(b"bulk-1"))
    broken = record(1, line("b")[:-1], headers=to(b"bulk-1"))
    large = record(2, line("c", body={"input": "x" * 20_000}), headers=to(b"bulk-1"))
    engine.deliver([refused, broken, large], 0.0, EPOCH_MS)
    assert codes(taken(engine)) == [
        ("bulk-1", "unknown_url"),
        ("dead-letters", "invalid_json"),
        ("dead-letters", "request_too_large"),
        ("bulk-1", "request_too_large"),
    ]


def test_a_missing_topic_is_an_outcome_before_any_model_works() -> None:
    engine = engine_of()
    deliver(engine, 0)
    assert engine.next_call(0.0, EPOCH_MS) is None, "it waits to know"
    look_up(engine, "bulk-1")
    assert engine.next_call(0.0, EPOCH_MS) is None
    messages = taken(engine)
    assert codes(messages) == [
        ("dead-letters", "reply_topic_missing"),
        ("results", "reply_topic_missing"),
    ]
    assert dict(messages[0].headers)[REPLY_TOPIC] == b"bulk-1", "so that a replay has it"
    assert b"create it" in (messages[1].value or b"")


def test_other_records_do_not_wait_for_the_look_up() -> None:
    engine = engine_of()
    engine.deliver([record(0, headers=to(b"bulk-1")), record(1)], 0.0, EPOCH_MS)
    call, chunk = next_call(engine, 0.0, EPOCH_MS)
    assert len(chunk.lines) == 1
    answer(call, chunk, engine)
    assert [each.topic for each in taken(engine)] == ["results"]


def test_a_topic_is_looked_up_once_and_a_missing_one_again_after_some_seconds() -> None:
    engine = engine_of()
    for offset in range(3):
        deliver(engine, offset)
    assert look_up(engine, "bulk-1", now_s=1.0) == ["bulk-1"]
    deliver(engine, 3, now_s=1.0 + MISSING_S / 2)
    assert not engine.look_ups.is_due
    assert len(taken(engine)) == 8
    deliver(engine, 4, now_s=1.1 + MISSING_S)
    assert look_up(engine, now_s=1.2 + MISSING_S) == ["bulk-1"]
    compute(engine)
    assert [each.topic for each in taken(engine)] == ["bulk-1"]
    deliver(engine, 5, now_s=1_000.0)
    assert not engine.look_ups.is_due


def test_a_look_up_that_fails_lets_the_records_go_on() -> None:
    engine = engine_of()
    deliver(engine, 0)
    engine.backlog.looked_up(engine.look_ups.take_due(), None, 0.0, EPOCH_MS)
    compute(engine)
    assert [each.topic for each in taken(engine)] == ["bulk-1"]
    deliver(engine, 1)
    assert engine.look_ups.is_due, "nothing is known yet"


def test_a_blocked_record_of_a_missing_topic_is_given_up_in_its_turn() -> None:
    engine = make_engine(reply_topics=ALLOWED, ordering="key")
    engine.assign({P0: OffsetAndMetadata(0, "")})
    engine.deliver([record(0, key=b"k"), record(1, key=b"k", headers=to(b"bulk-1"))], 0.0, EPOCH_MS)
    look_up(engine, "bulk-1")
    compute(engine)
    assert codes([m for each in publish_all(engine) for m in each.messages]) == [
        ("results", "none")
    ]
    assert engine.next_call(0.0, EPOCH_MS) is None
    assert codes([m for each in publish_all(engine) for m in each.messages])[1:] == [
        ("results", "reply_topic_missing")
    ]


def test_deadlines_and_cancellations_reach_a_record_that_waits_for_a_look_up() -> None:
    engine = engine_of()
    due = [*to(b"bulk-1"), (DEADLINE, b"%d" % (EPOCH_MS + 1_000))]
    engine.deliver([record(0, headers=due)], 0.0, EPOCH_MS)
    engine.advance(2.0, EPOCH_MS + 2_000)
    assert codes(taken(engine)) == [("bulk-1", "request_expired")]
    look_up(engine, "bulk-1")
    assert taken(engine) == []


def test_a_partition_that_goes_takes_its_waiting_records_along() -> None:
    engine = engine_of()
    deliver(engine, 0)
    engine.suspend()
    engine.assign({})
    look_up(engine)
    assert engine.held_records == 0
    assert engine.next_call(0.0, EPOCH_MS) is None


def test_a_topic_that_is_deleted_meanwhile_costs_a_dead_letter_and_an_error() -> None:
    engine = engine_of()
    refuse(engine, answered(engine), is_missing=True)
    assert codes(taken(engine)) == [
        ("dead-letters", "reply_topic_missing"),
        ("results", "reply_topic_missing"),
    ]
    deliver(engine, 1, now_s=0.1)
    assert engine.next_call(0.1, EPOCH_MS) is None, "it is known to be missing by now"
    assert codes(taken(engine))[1:] == [("results", "reply_topic_missing")]


def test_a_topic_that_refuses_results_costs_a_dead_letter_and_an_error() -> None:
    engine = engine_of()
    refuse(engine, answered(engine))
    messages = taken(engine)
    assert codes(messages) == [("dead-letters", "result_refused"), ("results", "result_refused")]
    assert b"topic bulk-1 says no" in (messages[1].value or b"")


def test_a_result_too_large_is_said_where_its_reader_waits_and_only_then_elsewhere() -> None:
    engine = engine_of()
    refuse(engine, answered(engine), is_too_large=True)
    small = taken(engine)
    assert codes(small) == [("bulk-1", "result_too_large")]
    refuse(engine, small, is_too_large=True)
    assert codes(taken(engine)) == [
        ("dead-letters", "result_too_large"),
        ("results", "result_too_large"),
    ]


def test_the_result_beside_a_dead_letter_is_moved_and_the_letter_stays_as_it_is() -> None:
    engine = engine_of()
    deliver(engine, 0)
    look_up(engine)
    compute(engine, status=501)
    letter, result = taken(engine)
    assert (letter.topic, result.topic) == ("dead-letters", "bulk-1")
    counted = engine.counters.dead_letter_records
    assert engine.rejected(result.item, [Rejection(result, "no", is_missing=True)], 0.0, EPOCH_MS)
    assert codes(taken(engine)) == [("results", "model_failed")]
    assert engine.counters.dead_letter_records == counted


def test_what_a_topic_does_not_take_now_waits_and_others_go_on() -> None:
    engine = engine_of()
    refuse(engine, answered(engine), is_passing=True)
    assert taken(engine) == []
    assert [each.topic for each in answered(engine, 1)] == [], "it waits with the first"
    engine.deliver([record(2)], 0.0, EPOCH_MS)
    compute(engine)
    publish_all(engine)
    assert engine.offsets_and_metadata()[P0].offset == 0
    (wait,) = engine.waits(3.0)
    assert wait == (
        "reply topic bulk-1 takes nothing: 2 results wait, for 3 s (topic bulk-1 says no); "
        "after 60 s each is a dead letter"
    )
    due_in_s = engine.next_due_in_s(0.0, EPOCH_MS)
    assert due_in_s is not None
    assert due_in_s <= 1.0
    engine.advance(1.0, EPOCH_MS)
    assert len(publish_all(engine)) == 2
    assert engine.offsets_and_metadata()[P0] == OffsetAndMetadata(3, "")
    assert engine.waits(3.0) == []


def test_a_reply_topic_that_stands_still_is_not_taken_for_the_routes_own() -> None:
    engine = engine_of()
    refuse(engine, answered(engine), is_passing=True)
    assert len(engine.waits(0.0)) == 1
    assert [each.split(":")[0] for each in engine.waits(30.0)] == [
        "reply topic bulk-1 takes nothing"
    ]


def test_records_that_wait_for_a_look_up_are_not_taken_for_outcomes() -> None:
    engine = engine_of()
    deliver(engine, 0)
    assert engine.waits(0.0) == []
    (wait,) = engine.waits(30.0)
    assert wait == (
        "reply topics are looked up: 1 records wait to know whether theirs exist, and the brokers "
        "do not say"
    )


def test_once_a_topic_takes_one_all_are_published() -> None:
    engine = engine_of(max_records=2_000)
    refuse(engine, answered(engine), is_passing=True)
    for offset in range(1, 200):
        answered(engine, offset)
    engine.advance(1.0, EPOCH_MS)
    assert len(publish_all(engine)) == 64
    assert len(publish_all(engine)) == 136


def test_a_topic_that_takes_nothing_for_long_costs_dead_letters() -> None:
    engine = engine_of()
    refuse(engine, answered(engine), is_passing=True)
    now_s = 0.0
    while now_s < GIVE_UP_S + 2 * MAX_BACKOFF_S:
        now_s += 0.5
        engine.advance(now_s, EPOCH_MS)
        messages = taken(engine)
        if messages and messages[0].topic == "bulk-1":
            refuse(engine, messages, now_s, is_passing=True)
        elif messages:
            break
    assert now_s >= GIVE_UP_S
    assert codes(messages) == [
        ("dead-letters", "reply_topic_unavailable"),
        ("results", "reply_topic_unavailable"),
    ]


def test_all_that_waits_is_given_up_in_time_and_not_only_what_is_tried() -> None:
    engine = engine_of(max_records=2_000)
    refuse(engine, answered(engine), is_passing=True)
    for offset in range(1, 200):
        answered(engine, offset)
    letters = 0
    for second in range(1, int(GIVE_UP_S + MAX_BACKOFF_S) + 1):
        engine.advance(float(second), EPOCH_MS)
        messages = taken(engine)
        refuse(
            engine, [each for each in messages if each.topic == "bulk-1"], second, is_passing=True
        )
        letters += sum(each.topic == "dead-letters" for each in messages)
    assert letters + len(taken(engine)) // 2 == 200
    assert not engine._parked.records


def test_what_waits_takes_a_quarter_of_the_room_at_most() -> None:
    engine = engine_of(max_records=8)
    published: list[Message] = []
    for offset in range(4):
        messages = answered(engine, offset)
        refuse(engine, [each for each in messages if each.topic == "bulk-1"], is_passing=True)
        published += taken(engine)
    assert codes(published)[::2] == [("dead-letters", "reply_topic_unavailable")] * 2
    assert engine._parked.records == 2


def test_a_dead_letter_without_a_result_does_not_wait_for_the_reply_topic() -> None:
    engine = engine_of()
    refuse(engine, answered(engine), is_passing=True)
    engine.deliver([record(1, b"no json", headers=to(b"bulk-1"))], 0.0, EPOCH_MS)
    (letter,) = taken(engine)
    assert letter.topic == "dead-letters"
    engine.acknowledged([letter.item])
    assert taken(engine) == [], "nor does it say that the reply topic takes anything"
    engine.advance(1.0, EPOCH_MS)
    assert [each.topic for each in taken(engine)] == ["bulk-1"]


def test_what_waits_for_a_topic_that_turns_out_to_be_missing_waits_no_longer() -> None:
    engine = engine_of(max_records=2_000)
    refuse(engine, answered(engine), is_passing=True)
    for offset in range(1, 200):
        answered(engine, offset)
    engine.advance(1.0, EPOCH_MS)
    while replies := [each for each in taken(engine) if each.topic == "bulk-1"]:
        refuse(engine, replies, 1.0, is_missing=True)
    assert not engine._parked
    assert engine.counters.dead_letter_records == 200


def test_a_lost_partition_takes_what_waits_along() -> None:
    engine = engine_of()
    refuse(engine, answered(engine), is_passing=True)
    engine.suspend()
    engine.assign({})
    assert engine.held_records == engine.held_bytes == 0
    engine.advance(100.0, EPOCH_MS)
    assert taken(engine) == []


def test_what_is_refused_after_its_partition_went_does_not_wait() -> None:
    engine = engine_of()
    messages = answered(engine)
    engine.suspend()
    engine.assign({})
    refuse(engine, messages, is_passing=True)
    assert engine.held_records == engine.held_bytes == 0
    assert not engine._parked


def test_a_transaction_goes_on_without_what_its_topic_does_not_take() -> None:
    engine = engine_of()
    deliver(engine, 0)
    look_up(engine)
    engine.deliver([record(1)], 0.0, EPOCH_MS)
    compute(engine)
    transactions = engine.transactions
    transaction = transactions.begin(P0, 10, 1 << 20)
    assert transaction is not None
    passing = [
        Rejection(each, "no leader", is_passing=True)
        for item in transaction.items
        for each in item.messages
        if each.topic == "bulk-1"
    ]
    assert engine.transaction_refused(transaction, passing, 0.0, EPOCH_MS)
    again = transactions.begin(P0, 10, 1 << 20)
    assert again is not None
    assert [item.record.offset for item in again.items] == [1]
    engine.transaction_committed(again)
    engine.advance(1.0, EPOCH_MS)
    last = transactions.begin(P0, 10, 1 << 20)
    assert last is not None
    assert [item.record.offset for item in last.items] == [0]
    assert last.point == OffsetAndMetadata(2, "")


def test_a_missing_topic_is_replaced_within_its_transaction() -> None:
    engine = engine_of()
    deliver(engine, 0)
    look_up(engine)
    compute(engine)
    transaction = engine.transactions.begin(P0, 10, 1 << 20)
    assert transaction is not None
    (message,) = transaction.items[0].messages
    why = [Rejection(message, "there is no such topic", is_missing=True)]
    assert engine.transaction_refused(transaction, why, 0.0, EPOCH_MS)
    again = engine.transactions.begin(P0, 10, 1 << 20)
    assert again is not None
    assert codes(list(again.items[0].messages)) == [
        ("dead-letters", "reply_topic_missing"),
        ("results", "reply_topic_missing"),
    ]
