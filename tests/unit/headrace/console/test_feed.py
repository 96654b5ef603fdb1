"""One overview a second for all listeners, and each gets the whole of it."""

import asyncio
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.console.live.documents import document_of, plain
from headrace.console.live.feed import LASTS_S, MOST_LISTENERS, Feed
from headrace.console.live.history import EVERY_S, MOST_POINTS, History
from headrace.console.live.patches import apply_patch
from headrace.errors import ServiceError
from headrace.overview.snapshot import Overview
from tests.consoles import FakeService, with_rate
from tests.overviews import a_route, an_overview
from tests.simulation import SimulatedClock, simulate


class Listener:
    """Keeps the document as the page does."""

    def __init__(self, feed: Feed) -> None:
        self.events = feed.listen()
        self.document: dict[str, Any] = {}
        self.names: list[str] = []
        self.points: list[dict[str, Any]] = []

    async def hear(self) -> None:
        for block in (await anext(self.events)).decode().split("\n\n"):
            lines = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
            if "event" not in lines:
                continue
            self.names.append(lines["event"])
            value = orjson.loads(lines["data"])
            match lines["event"]:
                case "overview":
                    self.document = value
                case "patch":
                    self.document = apply_patch(self.document, value)
                case "history":
                    self.points = value
                case "point":
                    self.points.append(value)

    async def hear_until(self, name: str) -> None:
        self.names.clear()
        while name not in self.names:
            await self.hear()


def expected(overview: Overview) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(orjson.dumps(document_of(overview)))
    return {key: value for key, value in document.items() if key != "at_ms"}


def without_time(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "at_ms"}


def test_patches_lead_where_the_whole_would() -> None:
    async def run() -> None:
        service = FakeService()
        feed = Feed(service.overview, SimulatedClock())
        listener = Listener(feed)
        await listener.hear_until("overview")
        changes = (
            an_overview(more_routes=3),
            Overview(at_ms=1, routes=[with_rate(a_route(), 17.25)]),
            Overview(at_ms=2),
            an_overview(),
        )
        for overview in changes:
            service.overview_now = overview
            await feed.refresh()
            await listener.hear()
            assert listener.names[-1] in ("patch", "point")
            assert without_time(listener.document) == expected(overview)

    simulate(run())


def test_who_was_slow_gets_the_whole() -> None:
    async def run() -> None:
        service = FakeService()
        feed = Feed(service.overview, SimulatedClock())
        listener = Listener(feed)
        await listener.hear_until("overview")
        service.overview_now = Overview(at_ms=1)
        await feed.refresh()
        service.overview_now = an_overview(more_routes=1)
        await feed.refresh()
        listener.names.clear()
        await listener.hear_until("overview")
        assert listener.names == ["history", "overview"]
        assert without_time(listener.document) == expected(service.overview_now)

    simulate(run())


def test_a_thousand_questions_cost_one_overview_a_second() -> None:
    async def run() -> None:
        service = FakeService()
        feed = Feed(service.overview, SimulatedClock())
        for second in range(1, 6):
            await asyncio.gather(*(feed.overview() for _ in range(200)))
            assert service.taken == second
            await asyncio.sleep(1.0)

    simulate(run())


def test_it_asks_each_second_for_listeners_and_seldom_for_nobody() -> None:
    async def run() -> None:
        service = FakeService()
        feed = Feed(service.overview, SimulatedClock())
        running = asyncio.create_task(feed.run())
        await asyncio.sleep(60.5)
        assert 12 <= service.taken <= 14
        listener = Listener(feed)
        hearing = asyncio.create_task(listener.hear_until("never"))
        before = service.taken
        await asyncio.sleep(60.5)
        assert 58 <= service.taken - before <= 63
        # About every five seconds a point of the curves.
        assert abs(len(listener.points) - 120 / EVERY_S) <= 3
        hearing.cancel()
        await asyncio.wait([hearing])
        await listener.events.aclose()
        assert feed.listeners == 0
        running.cancel()

    simulate(run())


def test_a_listener_has_to_come_again() -> None:
    async def run() -> None:
        feed = Feed(FakeService().overview, SimulatedClock())
        running = asyncio.create_task(feed.run())
        begun_s = SimulatedClock().monotonic()
        async for _event in feed.listen():
            pass
        assert LASTS_S <= SimulatedClock().monotonic() - begun_s < LASTS_S + 5
        running.cancel()

    simulate(run())


def test_who_may_no_longer_read_hears_nothing_more() -> None:
    async def run() -> None:
        may_listen = True
        service = FakeService()
        feed = Feed(service.overview, SimulatedClock())
        events = feed.listen(lambda: may_listen)
        heard = [await anext(events) for _ in range(3)]
        assert heard[-1].startswith(b"event: overview")
        await feed.refresh()
        assert await anext(events)
        may_listen = False
        service.overview_now = Overview(at_ms=1)
        await feed.refresh()
        assert [each async for each in events] == []
        assert feed.listeners == 0

    simulate(run())


def test_while_nobody_answers_the_last_stays_and_says_so() -> None:
    async def run() -> None:
        service = FakeService()
        feed = Feed(service.overview, SimulatedClock())
        listener = Listener(feed)
        await listener.hear_until("overview")
        service.problem = "the status board does not answer"
        await feed.refresh()
        await listener.hear()
        assert listener.document["problem"] == service.problem
        assert listener.document["routes"]["order"][0] == "embed"
        await asyncio.sleep(2.0)
        with pytest.raises(ServiceError, match="does not answer"):
            await feed.overview()
        service.problem = None
        await feed.refresh()
        await listener.hear()
        await listener.hear()
        assert "problem" not in listener.document

    simulate(run())


def test_a_board_that_hangs_is_a_problem_and_not_a_wait() -> None:
    async def hang() -> Overview:
        await asyncio.Event().wait()
        raise AssertionError

    async def run() -> None:
        feed = Feed(hang, SimulatedClock())
        await feed.refresh()
        assert feed.problem == "the status board does not answer"

    simulate(run())


def test_what_cannot_be_sent_is_a_problem_and_the_next_one_is_taken() -> None:
    async def run() -> None:
        service = FakeService()
        feed = Feed(service.overview, SimulatedClock())
        running = asyncio.create_task(feed.run())
        listener = Listener(feed)
        await listener.hear_until("overview")
        good = service.overview_now
        unsendable: Any = object()
        service.overview_now = replace(good, unanswered=[unsendable])
        await listener.hear_until("patch")
        assert "cannot be read" in listener.document["problem"]
        assert listener.document["routes"] == expected(good)["routes"]
        assert not running.done()
        service.overview_now = good
        await listener.hear_until("patch")
        assert "problem" not in listener.document
        running.cancel()

    simulate(run())


def test_whatever_is_raised_is_a_problem_and_not_the_end() -> None:
    async def run() -> None:
        async def fail() -> Overview:
            raise ValueError("Expected `int`, got `str`")

        feed = Feed(fail, SimulatedClock())
        await feed.refresh()
        assert feed.problem == "the overview cannot be read: ValueError"
        await feed.refresh()
        with pytest.raises(ServiceError, match="ValueError"):
            await feed.overview()

    simulate(run())


huge = st.one_of(st.floats(), st.integers(-(2**1100), 2**1100), st.none(), st.text(max_size=2))


@example({"rounded": 1.7975e308})
@given(st.dictionaries(st.text(max_size=2), st.one_of(huge, st.lists(huge, max_size=3))))
def test_whatever_the_numbers_are_a_document_can_be_sent(values: dict[str, Any]) -> None:
    assert None not in orjson.loads(orjson.dumps(plain(values))).values()


def test_numbers_of_a_job_do_not_end_the_feed() -> None:
    async def run() -> None:
        job = replace(an_overview().jobs[0], rate_per_s=1e20, eta_s=float("inf"))
        service = FakeService(replace(an_overview(), jobs=[job]))
        feed = Feed(service.overview, SimulatedClock())
        await feed.refresh()
        assert feed.problem is None

    simulate(run())


def test_listeners_are_few() -> None:
    async def run() -> None:
        feed = Feed(FakeService().overview, SimulatedClock())
        listeners = [feed.listen() for _ in range(MOST_LISTENERS)]
        for each in listeners:
            assert not feed.is_full
            await anext(each)
        assert feed.is_full
        await listeners[0].aclose()
        assert not feed.is_full

    simulate(run())


def test_the_history_is_bounded() -> None:
    history = History()
    for second in range(5_000):
        history.add(an_overview(), float(second))
    points = history.points()
    assert len(points) == MOST_POINTS
    assert points[-1]["routes"]["embed"] == [3297, 41870]
