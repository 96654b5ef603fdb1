"""The board tells consumers of pauses, and `headrace status` too."""

import threading
from collections.abc import Mapping

import pytest

from consumer.autoscaling import pauses as kv
from consumer.engine.pausing import Pause
from consumer.replica.pausing import pause_in, pause_line
from consumer.replica.reports import ReplicaSnapshot, RouteStatus
from headrace.status.board import StatusBoard
from headrace.status.pauses import READ_EVERY_S, PauseBook
from schemas.settings.file import KafkaSettings

PAUSE = Pause(1_800_000_000_000, "poison flood")
SNAPSHOT = ReplicaSnapshot(route="r", replica="a").to_dict()


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s

    def epoch_ms(self) -> int:
        return 0


class Store:
    """The pauses; counts how often it is read, and may fail."""

    def __init__(self) -> None:
        self.pauses: dict[str, Pause] = {}
        self.is_away = False
        self.reads = 0

    def __call__(self) -> Mapping[str, Pause]:
        self.reads += 1
        if self.is_away:
            raise RuntimeError("Ray's head is away")
        return dict(self.pauses)


async def settle(book: PauseBook) -> None:
    assert book._reading is not None
    await book._reading


async def test_a_pause_reaches_its_route_and_no_other() -> None:
    clock, store = Clock(), Store()
    store.pauses["r"] = PAUSE
    board = StatusBoard(KafkaSettings(), clock=clock, read_pauses=store)

    told = await board.report(SNAPSHOT)
    other = await board.report({**SNAPSHOT, "route": "other"})

    assert pause_in(told, None) == PAUSE
    assert pause_in(other, PAUSE) is None
    assert store.reads == 1, "one reading is for all reports of a second"
    statuses = {name: RouteStatus.from_dict(each) for name, each in (await board.routes()).items()}
    assert statuses["r"].paused_since_ms == PAUSE.since_ms
    assert statuses["r"].pause_reason == "poison flood"
    assert statuses["other"].paused_since_ms is None


async def test_a_route_without_consumers_is_shown_as_paused() -> None:
    store = Store()
    store.pauses["r"] = PAUSE
    board = StatusBoard(KafkaSettings(), clock=Clock(), read_pauses=store)

    status = RouteStatus.from_dict((await board.routes())["r"])
    assert (status.replicas, status.paused_since_ms) == (0, PAUSE.since_ms)


async def test_while_the_store_is_away_everything_stays_as_it_is() -> None:
    clock, store = Clock(), Store()
    store.is_away = True
    board = StatusBoard(KafkaSettings(), clock=clock, read_pauses=store)
    answer = await board.report(SNAPSHOT)
    assert answer == {}
    assert pause_in(answer, PAUSE) == PAUSE
    assert pause_in(answer, None) is None

    store.is_away, store.pauses["r"] = False, PAUSE
    clock.now_s += READ_EVERY_S
    assert pause_in(await board.report(SNAPSHOT), None) == PAUSE
    store.is_away = True
    clock.now_s += READ_EVERY_S
    await board.report(SNAPSHOT)
    await settle(board._pauses)
    assert pause_in(await board.report(SNAPSHOT), None) == PAUSE


async def test_a_store_that_never_answers_holds_up_no_report_but_the_first() -> None:
    answers, reads = threading.Event(), 0

    def read() -> Mapping[str, Pause]:
        nonlocal reads
        reads += 1
        if reads > 1:
            answers.wait(10)
        return {"r": PAUSE}

    book = PauseBook(read)
    assert await book.latest(0.0) == {"r": PAUSE}
    for second in range(1, 5):
        assert await book.latest(float(second)) == {"r": PAUSE}
    answers.set()
    await settle(book)
    assert reads == 2


async def test_replicas_that_are_out_and_limited_are_counted() -> None:
    told = []
    board = StatusBoard(
        KafkaSettings(),
        clock=Clock(),
        read_pauses=Store(),
        report_measures=lambda *measures: told.append(measures),
    )
    limited = {"is_limited": True, "queued_records": 4}
    await board.report({**SNAPSHOT, "is_out": True})
    await board.report({**SNAPSHOT, "replica": "b", **limited})
    await board.report({**SNAPSHOT, "replica": "c", "is_limited": False})
    status = RouteStatus.from_dict((await board.routes())["r"])

    assert status.replicas_out == 1
    assert status.is_limited is True, "one that has nothing to do is not held back"
    assert [each.is_limited for _, each in told] == [True]


def test_a_board_of_an_earlier_release_says_nothing() -> None:
    assert pause_in(None, PAUSE) == PAUSE
    assert pause_in({"pause": {"since_ms": 5, "reason": "x", "by": "later"}}, None) == Pause(5, "x")


def test_a_pause_is_told_with_its_reason_and_its_end() -> None:
    line = pause_line(PAUSE, "chat", PAUSE.since_ms + 600_000)

    assert line == (
        "paused by hand: since 2027-01-15 08:00:00 UTC, poison flood (10 min so far); "
        "`headrace route resume chat` ends it"
    )
    assert "UTC (0 min so far)" in pause_line(Pause(0), "chat", 0)


def test_pauses_are_stored_by_route(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[bytes, bytes] = {}

    def put(key: bytes, value: bytes, *, overwrite: bool, namespace: bytes) -> None:
        assert overwrite
        assert namespace
        kept[key] = value

    def get(key: bytes, *, namespace: bytes) -> bytes | None:
        assert namespace
        return kept.get(key)

    monkeypatch.setattr(kv, "_internal_kv_put", put)
    monkeypatch.setattr(kv, "_internal_kv_get", get)
    monkeypatch.setattr(kv, "_internal_kv_list", lambda prefix, *, namespace: list(kept))
    monkeypatch.setattr(kv, "_internal_kv_del", lambda key, *, namespace: kept.pop(key, None))

    assert kv.stored_pauses() == {}
    kv.pause_route("chat", PAUSE)
    kv.pause_route("texts", Pause(7))
    assert kv.stored_pauses() == {"chat": PAUSE, "texts": Pause(7)}
    kv.resume_route("chat")
    kv.resume_route("chat")
    assert kv.stored_pause("chat") is None
    assert kv.stored_pause("texts") == Pause(7)
