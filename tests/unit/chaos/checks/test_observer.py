from dataclasses import replace
from typing import Any

import orjson
import pytest
from aiokafka.structs import ConsumerRecord, TopicPartition

from consumer.kafka.client import internals
from schemas.wire import headers
from schemas.wire.results import encode_response_line, result_id
from tests.chaos.checks import observer
from tests.chaos.checks.checker import Checker
from tests.chaos.checks.observer import Observer
from tests.chaos.checks.promises import Promises
from tests.chaos.load.records import Expectation, line
from tests.chaos.stage.stage import make_route

ROUTE = make_route("exactly_once")
POSITION = (1, 5)
SOURCE = (headers.SOURCE, f"{ROUTE.requests_topic}/1/5".encode())


def record(topic: str, value: bytes, *found: tuple[str, bytes]) -> ConsumerRecord:
    return ConsumerRecord(topic, 1, 5, 1_000, 0, b"k", value, None, 1, len(value), found)


def watched() -> tuple[Observer, Checker]:
    checker = Checker(Promises(exactly_once=True, stalled_after_s=10.0))
    return Observer("nowhere:1", ROUTE, checker), checker


@pytest.mark.parametrize(("custom_id", "wrong"), [("a", 0), ("b", 1)])
def test_a_result_is_compared_with_its_request(custom_id: str, wrong: int) -> None:
    seen, checker = watched()
    seen._take(record(ROUTE.requests_topic, line("a", ms=3)))
    line_id = result_id(ROUTE.requests_topic, *POSITION)
    value = encode_response_line(line_id, custom_id, 200, b'{"echo":"a"}')
    seen._take(record(ROUTE.results_topic, value, SOURCE))
    assert checker.violations["wrong_content"] == wrong


def test_a_dead_letter_is_compared_with_its_request() -> None:
    seen, checker = watched()
    seen._take(record(ROUTE.requests_topic, b"{"))
    seen._take(record(ROUTE.dead_letters_topic, b"[", SOURCE))
    assert checker.violations["wrong_content"] == 1


@pytest.mark.parametrize(("key", "pending"), [(b"r3", [5]), (b"r4", [])])
def test_an_outcome_belongs_to_the_topic_that_its_key_stood_on(
    key: bytes, pending: list[int]
) -> None:
    seen, checker = watched()
    reader: Any = Asked()
    seen._reader = reader
    checker.deleted([seen.log(1)])
    seen.recreated(3)
    seen._take(replace(record(ROUTE.requests_topic, line("r4", ms=3)), key=b"r4"))
    assert checker.unfinished_of(seen.log(1)) == [5]
    line_id = result_id(ROUTE.requests_topic, *POSITION)
    value = encode_response_line(line_id, key.decode(), 200, orjson.dumps({"echo": key.decode()}))
    seen._take(replace(record(ROUTE.results_topic, value, SOURCE), key=key))
    assert checker.unfinished_of(seen.log(1)) == pending
    assert not checker.violations


def test_a_topic_created_again_is_read_from_its_start() -> None:
    seen, _ = watched()
    reader: Any = Asked(TopicPartition(ROUTE.requests_topic, 1), TopicPartition("others", 1))
    seen._reader = reader
    seen.recreated(3)
    assert reader.sought == {TopicPartition(ROUTE.requests_topic, 1): 0}


class Asked:
    def __init__(self, *assigned: TopicPartition) -> None:
        self.assigned = frozenset(assigned)
        self.sought: dict[TopicPartition, int] = {}

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.sought[partition] = offset

    async def end_offsets(self, _partitions: object) -> dict[TopicPartition, int]:
        return {TopicPartition(ROUTE.results_topic, 0): 7}

    def assignment(self) -> frozenset[TopicPartition]:
        return self.assigned


async def test_a_reader_that_is_blocked_hides_no_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    async def points(*_: object) -> dict[int, tuple[int, str]]:
        return {1: (6, "")}

    asked: Any = Asked()
    monkeypatch.setattr(observer, "read_committed_points", points)
    monkeypatch.setattr(observer, "_PASS_PATIENCE_S", 0.05)
    monkeypatch.setattr(internals, "position", lambda *_: 3)
    seen, checker = watched()
    seen._reader = asked
    checker.accepted(POSITION, Expectation.RESULT, seen._clock.epoch_ms() / 1000 - 11)
    await seen._check_once(asked, asked)
    assert checker.violations == {"stalled": 1}
    assert not seen.points_checked
