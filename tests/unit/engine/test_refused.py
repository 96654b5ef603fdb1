"""What takes the place of messages that their topics refuse for good."""

import hashlib
from dataclasses import replace

import orjson
import pytest

from consumer.engine.engine import Engine
from consumer.engine.work import WorkItem
from consumer.ports import Message, OffsetAndMetadata, Rejection
from tests.engines import (
    P0,
    TOO_LARGE,
    answer,
    line,
    make_engine,
    next_call,
    publish_all,
    record,
    rejections_of,
)
from tests.simulation import EPOCH_MS

BIG_HEADERS = [("null", None), ("big", b"h" * 9_000), ("headrace-job", b"j" * 9_000)]
REFUSED = replace(
    TOO_LARGE,
    reason="topic t takes no message without a key: set cleanup.policy=delete",
    is_too_large=False,
)
"""A rejection of whatever message it is given for."""


def headers_of(message: Message) -> dict[str, bytes]:
    return {name: value or b"" for name, value in message.headers}


def refuse_all(engine: Engine, publication: WorkItem, why: Rejection) -> list[Message]:
    """Refuse all messages of a publication, and return what takes their place."""
    assert engine.rejected(publication, rejections_of(publication, why), 1.0, EPOCH_MS)
    taken = engine.take_publications(10, 1 << 20)
    assert taken in ([publication], [])
    return list(publication.messages) if taken else []


def answered(engine: Engine, key: bytes | None = None) -> WorkItem:
    engine.assign({P0: None})
    engine.deliver([record(0, key=key)], 0.0, EPOCH_MS)
    answer(*next_call(engine, 0.0, EPOCH_MS), engine)
    (publication,) = engine.take_publications(10, 1 << 20)
    return publication


def dead(engine: Engine, key: bytes | None = None) -> WorkItem:
    """A record whose outcome is a dead letter, and a result beside it."""
    engine.assign({P0: None})
    engine.deliver([record(0, key=key, headers=[("own", b"1")])], 0.0, EPOCH_MS)
    answer(*next_call(engine, 0.0, EPOCH_MS), engine, status=501)
    (publication,) = engine.take_publications(10, 1 << 20)
    assert [message.topic for message in publication.messages] == ["dead-letters", "results"]
    return publication


def test_a_dead_letter_too_large_for_its_topic_says_where_its_value_is() -> None:
    engine = make_engine()
    engine.assign({P0: None})
    value = b"x" * 50_000
    engine.deliver([record(0, value, headers=[("traceparent", b"00-1")])], 0.0, EPOCH_MS)
    (publication,) = engine.take_publications(10, 1 << 20)
    assert publication.messages[0].value == value
    assert engine.rejected(publication, rejections_of(publication, TOO_LARGE, 0), 0.1, EPOCH_MS)
    (substitute,) = publish_all(engine)
    (letter,) = substitute.messages
    assert letter.topic == "dead-letters"
    assert letter.value is None
    headers = headers_of(letter)
    assert headers["headrace-omitted-value-bytes"] == b"50000"
    assert headers["headrace-omitted-value-sha256"] == hashlib.sha256(value).hexdigest().encode()
    assert headers["headrace-source"] == b"requests/0/0"
    assert headers["headrace-error-code"] == b"request_too_large"
    assert headers["traceparent"] == b"00-1"


def test_a_result_too_large_for_its_topic_becomes_a_small_one_and_then_a_dead_letter() -> None:
    engine = make_engine()
    engine.assign({P0: None})
    engine.deliver([record(0, key=b"k" * 5_000, headers=BIG_HEADERS)], 0.0, EPOCH_MS)
    call, chunk = next_call(engine, 0.0, EPOCH_MS)
    answer(call, chunk, engine)
    (publication,) = engine.take_publications(10, 1 << 20)
    assert engine.rejected(publication, rejections_of(publication, TOO_LARGE, 0), 1.0, EPOCH_MS)
    (again,) = engine.take_publications(10, 1 << 20)
    (message,) = again.messages
    assert message.key == b"requests/0/0"
    assert not {"big", "headrace-job"} & set(headers_of(message))
    assert orjson.loads(message.value or b"")["error"]["code"] == "result_too_large"
    assert engine.rejected(again, rejections_of(again, TOO_LARGE, 0), 1.0, EPOCH_MS)
    (as_letter,) = engine.take_publications(10, 1 << 20)
    letter, beside = as_letter.messages
    assert (letter.topic, letter.key) == ("dead-letters", b"k" * 5_000)
    assert headers_of(letter)["headrace-error-code"] == b"result_too_large"
    assert engine.rejected(as_letter, rejections_of(as_letter, TOO_LARGE, 1), 1.0, EPOCH_MS), (
        "the dead letter stands"
    )
    assert beside.topic == "results"
    trimmed = publish_all(engine)
    assert [len(each.messages) for each in trimmed] == [1]
    assert engine.offsets_and_metadata() == {P0: OffsetAndMetadata(1, "")}


def test_a_result_that_its_topic_refuses_becomes_a_dead_letter_with_the_reason() -> None:
    engine = make_engine()
    publication = answered(engine)
    letter, result = refuse_all(engine, publication, REFUSED)
    assert (letter.topic, letter.key, letter.value) == ("dead-letters", None, line("0-0"))
    headers = headers_of(letter)
    assert headers["headrace-error-code"] == b"result_refused"
    assert b"cleanup.policy" in headers["headrace-error-message"]
    assert (result.topic, result.key) == ("results", b"requests/0/0")
    assert orjson.loads(result.value or b"")["error"]["code"] == "result_refused"
    assert engine.counters.dead_letter_records == 1
    engine.acknowledged([publication])
    assert engine.offsets_and_metadata() == {P0: OffsetAndMetadata(1, "")}


def test_a_refused_dead_letter_without_a_key_is_given_one_and_keeps_its_value() -> None:
    engine = make_engine()
    publication = dead(engine)
    before = publication.messages[0]
    letter, result = refuse_all(engine, publication, REFUSED)
    assert letter == before._replace(key=b"requests/0/0")
    assert result.key == b"requests/0/0"
    assert engine.counters.dead_letter_records == 1


@pytest.mark.parametrize("why", [REFUSED, TOO_LARGE])
@pytest.mark.parametrize("key", [None, b"k"])
def test_each_form_is_refused_by_less_until_nothing_of_the_record_is_left(
    why: Rejection, key: bytes | None
) -> None:
    engine = make_engine()
    publication = dead(engine, key)
    forms: list[Message] = []
    while engine.rejected(publication, rejections_of(publication, why), 1.0, EPOCH_MS):
        (publication,) = engine.take_publications(10, 1 << 20)
        forms.append(publication.messages[0])
        assert len(forms) < 5
    assert len(set(map(repr, forms))) == len(forms)
    last = forms[-1]
    assert (last.topic, last.key, last.value) == ("dead-letters", b"requests/0/0", None)
    assert "own" not in headers_of(last)
    assert headers_of(last)["headrace-omitted-value-sha256"]
    assert [message.topic for message in publication.messages] == ["dead-letters"], (
        "the result beside it was left out"
    )
    assert engine.offsets_and_metadata()[P0].offset == 0, "nothing goes on without an outcome"


def test_a_result_beside_a_dead_letter_that_stands_holds_up_nothing() -> None:
    engine = make_engine()
    publication = dead(engine, b"k")
    assert engine.rejected(publication, rejections_of(publication, REFUSED, 1), 1.0, EPOCH_MS)
    assert engine.take_publications(10, 1 << 20) == []
    assert engine.offsets_and_metadata() == {P0: OffsetAndMetadata(1, "")}
    assert engine.held_records == 0


def test_in_a_transaction_the_neighbours_stay_where_they_are() -> None:
    engine = make_engine()
    engine.assign({P0: None})
    engine.deliver([record(n, key=None if n == 1 else b"k") for n in range(3)], 0.0, EPOCH_MS)
    answer(*next_call(engine, 0.0, EPOCH_MS), engine)
    transaction = engine.transactions.begin(P0, 10, 1 << 20)
    assert transaction is not None
    refused = rejections_of(transaction.items[1], REFUSED)
    assert engine.transaction_refused(transaction, refused, 1.0, EPOCH_MS)
    again = engine.transactions.begin(P0, 10, 1 << 20)
    assert again is not None
    topics = [[message.topic for message in each.messages] for each in again.items]
    assert topics == [["results"], ["dead-letters", "results"], ["results"]]
    assert again.point == OffsetAndMetadata(3, "")
    assert publish_all(engine) == []
