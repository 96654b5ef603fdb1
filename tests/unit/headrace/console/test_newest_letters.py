"""What a page of dead letters reads and keeps, however many, large or hostile they are."""

import asyncio
import json
import tracemalloc
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Self

import pytest

from consumer.kafka.source.unpacking import UnpackedTooLargeError
from consumer.ports import SourceError
from handoff.clock import SystemClock
from headrace.console.ports import LetterFilter
from headrace.console.sources import letters as source
from headrace.console.sources.letters import KafkaLetters, LetterTopic
from headrace.console.sources.newest_letters import MOST_KEPT_ROWS, MOST_ROWS, rows_of
from headrace.dead_letters import handling
from headrace.dead_letters.handled import HandledOffsets
from headrace.dead_letters.inbox import Inbox
from headrace.errors import UserError
from headrace.records.reading import LogPart, LogRange, TopicRecord
from schemas.settings.file import KafkaSettings
from schemas.wire import headers

MIB = 1024 * 1024


def a_record(topic: str, offset: int, value: bytes, code: str = "invalid_json") -> TopicRecord:
    said = {
        headers.SOURCE: f"requests/0/{offset}",
        headers.ERROR_CODE: code,
        headers.FAILED_AT: str(1_000 + offset),
        headers.ROUTE: "embed",
    }
    named = tuple((name, each.encode()) for name, each in said.items())
    return TopicRecord(topic, 0, offset, b"the-key", value, named, 0)


class Log:
    """Topics of one partition; stands for the reader and the look at the inbox."""

    def __init__(
        self, ends: Mapping[str, int], value: bytes = b"{}", part_records: int = 8
    ) -> None:
        self.ends = ends
        self.value = value
        self.part_records = part_records
        self.read_offsets: dict[str, list[int]] = {}
        self.codes = {0: "timeout"}
        self.looks = 0
        self.error: Exception | None = None
        self.hangs_at: str | None = None

    def __call__(self, _kafka: KafkaSettings) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        return None

    async def open_inbox(self, _reader: object, topic: str, routes: tuple[str, ...]) -> Inbox:
        self.looks += 1
        if topic == self.hangs_at:
            await asyncio.Event().wait()
        ranges = {0: LogRange(0, self.ends[topic])}
        return Inbox(topic, routes, ranges, {0: HandledOffsets()})

    async def read(
        self, topic: str, ranges: Mapping[int, LogRange]
    ) -> AsyncGenerator[LogPart, None]:
        if self.error is not None:
            raise self.error
        for offset in range(ranges[0].start, ranges[0].end, self.part_records):
            offsets = range(offset, min(offset + self.part_records, ranges[0].end))
            self.read_offsets.setdefault(topic, []).extend(offsets)
            # Each its own bytes, as a fetch has them.
            yield LogPart(
                [
                    a_record(
                        topic, each, bytes(bytearray(self.value)), self.codes.get(each % 10, "x")
                    )
                    for each in offsets
                ],
                0,
            )


@pytest.fixture
def letters_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    def of(log: Log) -> KafkaLetters:
        monkeypatch.setattr(source, "LogReader", log)
        monkeypatch.setattr(source, "open_inbox", log.open_inbox)
        letters = KafkaLetters(KafkaSettings(bootstrap="127.0.0.1:1"), SystemClock())
        letters.topics = tuple(LetterTopic(name, {"embed": "requests"}) for name in log.ends)
        return letters

    return of


async def test_large_ones_are_read_up_to_a_number_of_bytes_the_newest_first(
    letters_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "READ_BYTES", 16 * MIB)
    log = Log({"a": 2_000, "b": 2_000}, bytes(MIB))
    tracemalloc.start()
    try:
        page = await letters_of(log).page(None, None)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Values go as soon as their rows are made: two parts at once at most, and no page of them.
    assert peak_bytes < 3 * log.part_records * MIB
    assert sum(map(len, log.read_offsets.values())) <= 16 + 4 * log.part_records
    for topic in ("a", "b"):
        assert min(log.read_offsets[topic]) >= 2_000 - 50
        assert any(
            each.startswith(f"{topic}: its records are large") for each in page.unread_topics
        )
    assert page.read_records >= 16
    assert page.unhandled_offsets == 4_000
    assert {each.custom_id for each in page.rows} == {"the-key"}


async def test_rows_are_few_and_reasons_are_counted_of_all(letters_of: Any) -> None:
    letters = letters_of(Log({"a": 3_000, "b": 3_000}, part_records=500))
    page = await letters.page(None, None)
    assert (page.read_records, page.unhandled_offsets) == (4_000, 6_000)
    assert [each.failed_at_ms for each in page.rows[:3]] == [3_999, 3_999, 3_998]
    assert len(page.rows) == MOST_ROWS
    assert page.by_reason == [("embed", "x", 3_600), ("embed", "timeout", 400)]
    few = await letters.page("embed", "timeout")
    assert few.by_reason == [("embed", "timeout", 400)]
    assert few.read_records == 400
    assert MOST_KEPT_ROWS // 10 - 5 <= len(few.rows) <= MOST_ROWS
    assert {each.error_code for each in few.rows} == {"timeout"}


async def test_whatever_is_asked_of_them_topics_are_read_once(letters_of: Any) -> None:
    log = Log({"a": 10, "b": 10})
    letters = letters_of(log)
    await asyncio.gather(
        *(letters.page(f"renamed-{number}", f"code-{number}") for number in range(50)),
        *(letters.page(None, f"code-{number}") for number in range(50)),
    )
    assert log.looks == 2


async def test_after_a_replay_they_are_read_again(
    letters_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def replay(*_arguments: Any, **_named: Any) -> None:
        return None

    monkeypatch.setattr(handling, "replay", replay)
    log = Log({"a": 10})
    letters = letters_of(log)
    await letters.page(None, None)
    await letters.replay(LetterFilter(route="embed"))
    looks = log.looks
    await letters.page(None, None)
    assert log.looks == looks + 1


async def test_one_deadline_is_for_all_topics(
    letters_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "READ_WITHIN_S", 0.5)
    log = Log({"a": 10, "b": 10, "c": 10})
    log.hangs_at = "b"
    page = await letters_of(log).page(None, None)
    assert page.read_records == 10
    assert [each.partition(":")[0] for each in page.unread_topics] == ["b", "c"]


@pytest.mark.parametrize("error", [SourceError("the broker is gone"), UnpackedTooLargeError(1)])
async def test_a_topic_that_cannot_be_read_is_named(letters_of: Any, error: Exception) -> None:
    log = Log({"a": 10})
    log.error = error
    page = await letters_of(log).page(None, None)
    assert len(page.unread_topics) == 1
    assert page.unread_topics[0].startswith("a: ")


async def test_a_replay_of_what_unpacks_to_too_much_says_so(
    letters_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def replay(*_arguments: Any, **_named: Any) -> None:
        raise UnpackedTooLargeError(1)

    monkeypatch.setattr(handling, "replay", replay)
    with pytest.raises(UserError, match="headrace dlq"):
        await letters_of(Log({"a": 10})).replay(LetterFilter(route="embed"))


def test_texts_of_a_row_are_short_and_large_values_are_not_parsed() -> None:
    inbox = Inbox("a", ("embed",), {0: LogRange(0, 9)}, {0: HandledOffsets()})
    small = json.dumps({"custom_id": "c" * 1_000}).encode()
    large = json.dumps({"custom_id": "c", "text": "t" * MIB}).encode()
    rows = rows_of(inbox, [a_record("a", 0, small, "e" * MIB), a_record("a", 1, large)])
    assert [each.custom_id for each in rows] == ["c" * 128, "the-key"]
    assert len(rows[0].error_code) == 128
