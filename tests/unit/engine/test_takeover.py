"""What a new owner knows of records that failed in earlier hands."""

from typing import Any

from consumer.engine.engine import Engine
from consumer.ports import Message, OffsetAndMetadata
from tests.engines import P0, answer, line, make_engine, next_call, publish_all, record
from tests.simulation import EPOCH_MS

RECORDS = [record(offset) for offset in range(8)]


def take_over(point: OffsetAndMetadata, **settings: Any) -> Engine:
    engine = make_engine(**settings)
    start = engine.assign({P0: point}).seeks[P0]
    engine.deliver(RECORDS[start:], 0.0, EPOCH_MS)
    return engine


def headers_of(message: Message) -> dict[str, bytes]:
    return {name: value or b"" for name, value in message.headers}


def test_a_record_that_outlives_its_consumers_converges_on_a_dead_letter() -> None:
    """Each owner sees its replica die once by the record, commits, and is killed."""
    point, attempts = OffsetAndMetadata(0, ""), 0
    for life in range(20):
        engine = take_over(point, max_attempts=4, chunk_records=8)
        now_s = 0.0
        while (called := engine.next_call(now_s, EPOCH_MS)) is not None:
            call, chunk = called
            if line("0-5") not in chunk.lines:
                answer(call, chunk, engine)
                publish_all(engine)
                continue
            attempts += 1
            assert len(chunk.lines) == 1 or not life
            engine.end_call(call, "the replica died", now_s, EPOCH_MS)
            break
        letters = [
            message
            for publication in publish_all(engine)
            for message in publication.messages
            if message.topic == "dead-letters"
        ]
        point = engine.offsets_and_metadata().get(P0, point)
        if letters:
            break
    (letter,) = letters
    assert letter.value == line("0-5")
    assert headers_of(letter)["headrace-attempts"] == b"%d" % attempts
    assert attempts == 4


def test_strikes_of_earlier_owners_send_a_record_alone_and_healthy_ones_together() -> None:
    first = take_over(OffsetAndMetadata(0, ""), chunk_records=16)
    call, chunk = next_call(first, 0.0, EPOCH_MS)
    assert len(chunk.lines) == 2
    first.end_call(call, "the replica died", 0.0, EPOCH_MS)
    second = take_over(first.offsets_and_metadata()[P0], chunk_records=16)
    sizes = []
    while (called := second.next_call(0.0, EPOCH_MS)) is not None:
        sizes.append(len(called[1].lines))
        answer(*called, second)
    assert sizes[:2] == [1, 1]
    assert sum(sizes) == 8
    results = [message for each in publish_all(second) for message in each.messages]
    attempts = [headers_of(message)["headrace-attempts"] for message in results]
    assert sorted(attempts) == [b"1"] * 6 + [b"2"] * 2


def test_an_ordinary_kill_holds_nothing_against_what_was_in_flight() -> None:
    point = OffsetAndMetadata(0, "")
    for _ in range(300):
        engine = take_over(point, max_attempts=1)
        assert engine.next_call(0.0, EPOCH_MS) is not None
        point = engine.offsets_and_metadata().get(P0, point)
    assert point == OffsetAndMetadata(0, "")
