"""The reading thread: what it reads and shares, what it holds, and how it ends."""

import asyncio
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, ClassVar, Self

import pytest

from consumer.autoscaling import lag_reader
from consumer.autoscaling.lag_reader import GroupLagSource, LagReader, Reading
from consumer.autoscaling.measures import RouteMeasures
from consumer.ports import Lag, OffsetAndMetadata, SourceError, TopicPartition
from schemas.settings.file import KafkaSettings

PATIENCE_S = 20.0
SOURCES = (
    GroupLagSource("g", "a", from_latest=False, route="chat"),
    GroupLagSource("h", "b", from_latest=False, route="texts"),
)


class Owner:
    """Whoever wants the lag."""


class FakeGroupLags:
    """Answers from memory, and counts."""

    broken: str | None = None
    silent: str | None = None
    readings = threading.Semaphore(0)
    made = 0
    closed = 0
    groups: ClassVar[list[str]] = []

    def __init__(self, _settings: KafkaSettings) -> None:
        FakeGroupLags.made += 1

    async def __aenter__(self) -> Self:
        # As an aiokafka client, which has tasks of its own until it is closed.
        self._asking = asyncio.create_task(asyncio.Event().wait())
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        self._asking.cancel()
        FakeGroupLags.closed += 1

    async def read(self, group: str, topic: str, timeout_s: float) -> dict[TopicPartition, Lag]:
        assert timeout_s == PATIENCE_S
        FakeGroupLags.groups.append(group)
        FakeGroupLags.readings.release()
        if group == FakeGroupLags.silent:
            await asyncio.Event().wait()
        if group == FakeGroupLags.broken:
            raise SourceError("the group's coordinator is away")
        return {TopicPartition(topic, 0): Lag(0, 10, OffsetAndMetadata(4, ""))}


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeGroupLags]]:
    monkeypatch.setattr(lag_reader, "GroupLags", FakeGroupLags)
    for name in ("broken", "silent"):
        monkeypatch.setattr(FakeGroupLags, name, None)
    for name in ("made", "closed"):
        monkeypatch.setattr(FakeGroupLags, name, 0)
    monkeypatch.setattr(FakeGroupLags, "groups", [])
    monkeypatch.setattr(FakeGroupLags, "readings", threading.Semaphore(0))
    yield FakeGroupLags
    # The test's owners are gone; a thread that still ended would serve the next test's.
    for thread in lag_threads():
        thread.join(PATIENCE_S)


def reader_of(
    owner: object,
    report: Any = None,
    *,
    sources: tuple[GroupLagSource, ...] = SOURCES,
    bootstrap: str = "localhost:9092",
) -> LagReader:
    return LagReader(
        owner,
        KafkaSettings(bootstrap=bootstrap),
        sources,
        interval_s=0.001,
        timeout_s=PATIENCE_S,
        report=report or (lambda _decision: None),
        ask_measures=lambda route: RouteMeasures(
            tokens_per_record=100.0 if route == "chat" else None
        ),
    )


def wait_for(reader: LagReader, kafka: type[FakeGroupLags], *, is_complete: bool) -> Reading:
    while True:
        assert kafka.readings.acquire(timeout=PATIENCE_S)
        reading = reader.latest()
        if reading.number and reading.is_complete == is_complete:
            return reading


def lag_threads() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name == "headrace-lag"}


def test_it_reads_every_group_and_reports_in_its_own_thread(kafka: type[FakeGroupLags]) -> None:
    owner, heard = Owner(), threading.Event()
    threads: list[str] = []

    def report(_decision: bytes) -> None:
        threads.append(threading.current_thread().name)
        heard.set()
        raise RuntimeError("nobody listens")

    reader = reader_of(owner, report)
    reading = wait_for(reader, kafka, is_complete=True)
    reader.report(b"a decision")

    assert [each.records for each in reading.backlogs] == [6, 6]
    means = tuple(each.tokens_per_record for each in reading.measures)
    assert (means, reading.remaining_tokens) == ((100.0, None), 600)
    assert heard.wait(PATIENCE_S)
    assert threads == ["headrace-lag"]
    later = wait_for(reader, kafka, is_complete=True)
    assert later.number >= reading.number


def test_a_failed_reading_holds_the_numbers_and_says_why(kafka: type[FakeGroupLags]) -> None:
    owner = Owner()
    reader = reader_of(owner)
    wait_for(reader, kafka, is_complete=True)

    kafka.broken = "h"
    reading = wait_for(reader, kafka, is_complete=False)

    assert [each.records for each in reading.backlogs] == [6, 6]
    assert "coordinator is away" in reading.backlogs[1].notes[0]
    kafka.broken = None
    wait_for(reader, kafka, is_complete=True)


def test_it_ends_with_its_owner(kafka: type[FakeGroupLags]) -> None:
    before = lag_threads()
    owner: Owner | None = Owner()
    reader_of(owner)
    (thread,) = lag_threads() - before

    owner = None

    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert kafka.closed == kafka.made == 1


def test_one_client_serves_all_policies_of_a_cluster(kafka: type[FakeGroupLags]) -> None:
    before = lag_threads()
    owners = [Owner() for _ in range(3)]
    readers = [reader_of(owner) for owner in owners[:2]]
    reader_of(owners[2], bootstrap="elsewhere:9092")
    wait_for(readers[0], kafka, is_complete=True)
    wait_for(readers[1], kafka, is_complete=True)
    threads = lag_threads() - before

    assert (kafka.made, len(threads)) == (2, 2)
    del owners[0], readers
    for _ in range(10):
        assert kafka.readings.acquire(timeout=PATIENCE_S)
    assert lag_threads() - before == threads

    owners.clear()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert kafka.closed == 2


def test_policies_share_the_readings_of_a_group_and_a_silent_one_delays_no_other(
    kafka: type[FakeGroupLags],
) -> None:
    kafka.silent = "g"
    owners = [Owner(), Owner(), Owner()]
    both = [reader_of(owner) for owner in owners[:2]]
    other = reader_of(owners[2], sources=SOURCES[1:])
    for _ in range(20):
        assert kafka.readings.acquire(timeout=PATIENCE_S)

    # The silent group was asked once, for both policies, which wait for it.
    assert kafka.groups.count("g") == 1
    assert [each.latest().number for each in both] == [0, 0]
    assert other.latest().number >= 17


def test_a_policy_without_groups_has_no_backlog_at_each_interval(
    kafka: type[FakeGroupLags],
) -> None:
    owner = Owner()
    reader: Any = reader_of(owner, sources=())
    reader._clock = SimpleNamespace(monotonic=lambda: 7.0001)
    first = reader.latest()
    reader._clock = SimpleNamespace(monotonic=lambda: 7.0011)

    assert first.is_complete
    assert 0 < first.number == reader.latest().number - 1
    assert (first.backlogs, kafka.groups) == ((), [])
