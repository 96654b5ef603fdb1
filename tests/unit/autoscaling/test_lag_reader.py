"""The reading thread: it tells what it read, what it could not, and ends with its owner."""

import threading
from typing import Any, Self

import pytest

from consumer.autoscaling import lag_reader
from consumer.autoscaling.lag_reader import GroupLagSource, LagReader, Reading
from consumer.autoscaling.measures import RouteMeasures
from consumer.ports import CommitPoint, Lag, SourceError, TopicPartition
from schemas.settings.file import KafkaSettings

PATIENCE_S = 20.0
SOURCES = (
    GroupLagSource("g", "a", from_latest=False, route="chat"),
    GroupLagSource("h", "b", from_latest=False, route="texts"),
)


class Owner:
    """Whoever wants the lag."""


class FakeAdmin:
    """Answers as it is told, and counts."""

    broken: str | None = None
    readings = threading.Semaphore(0)

    def __init__(self, _settings: KafkaSettings) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        FakeAdmin.readings.release()

    async def group_lag(self, group: str, topic: str) -> dict[TopicPartition, Lag]:
        if group == FakeAdmin.broken:
            raise SourceError("the group's coordinator is away")
        return {TopicPartition(topic, 0): Lag(0, 10, CommitPoint(4, ""))}


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> type[FakeAdmin]:
    monkeypatch.setattr(lag_reader, "TopicAdmin", FakeAdmin)
    monkeypatch.setattr(FakeAdmin, "broken", None)
    monkeypatch.setattr(FakeAdmin, "readings", threading.Semaphore(0))
    return FakeAdmin


def reader_of(owner: object, told: Any = None) -> LagReader:
    return LagReader(
        owner,
        KafkaSettings(),
        SOURCES,
        interval_s=0.001,
        timeout_s=PATIENCE_S,
        tell=told or (lambda _told: None),
        ask_measures=lambda route: RouteMeasures(
            tokens_per_record=100.0 if route == "chat" else None
        ),
    )


def wait_for(reader: LagReader, admin: type[FakeAdmin], *, is_complete: bool) -> Reading:
    while True:
        assert admin.readings.acquire(timeout=PATIENCE_S)
        reading = reader.latest()
        if reading.number and reading.is_complete == is_complete:
            return reading


def test_it_reads_every_group_and_tells_in_its_own_thread(admin: type[FakeAdmin]) -> None:
    owner, heard = Owner(), threading.Event()
    threads: list[str] = []

    def tell(_told: bytes) -> None:
        threads.append(threading.current_thread().name)
        heard.set()
        raise RuntimeError("nobody listens")

    reader = reader_of(owner, tell)
    reading = wait_for(reader, admin, is_complete=True)
    reader.tell(b"a decision")

    assert [each.records for each in reading.backlogs] == [6, 6]
    means = tuple(each.tokens_per_record for each in reading.measures)
    assert (means, reading.remaining_tokens) == ((100.0, None), 600)
    assert heard.wait(PATIENCE_S)
    assert threads == ["headrace-lag"]
    later = wait_for(reader, admin, is_complete=True)
    assert later.number >= reading.number


def test_what_could_not_be_read_is_held_and_said(admin: type[FakeAdmin]) -> None:
    owner = Owner()
    reader = reader_of(owner)
    wait_for(reader, admin, is_complete=True)

    admin.broken = "h"
    reading = wait_for(reader, admin, is_complete=False)

    assert [each.records for each in reading.backlogs] == [6, 6]
    assert "coordinator is away" in reading.backlogs[1].notes[0]
    admin.broken = None
    wait_for(reader, admin, is_complete=True)


def test_it_ends_with_its_owner(admin: type[FakeAdmin]) -> None:
    before = set(threading.enumerate())
    owner: Owner | None = Owner()
    reader_of(owner)
    [thread] = [
        each for each in threading.enumerate() if each not in before and each.name == "headrace-lag"
    ]

    owner = None

    thread.join(PATIENCE_S)
    assert not thread.is_alive()
