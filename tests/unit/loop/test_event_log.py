"""What a consumer writes to its log: events, few lines, and nothing of what records hold."""

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from consumer.loop.event_log import LONG_S
from consumer.ports import Message
from headrace_client.logs.forms import OWN_LOGGERS, JsonFormatter
from headrace_client.logs.handler import EventHandler
from headrace_client.logs.redacting import Redactor
from schemas.log_events import EVENTS
from schemas.settings.file import FlowSettings, RetrySettings
from tests.counting_model import CountingModel
from tests.simulated_service import ROUTE, SimulatedService, request
from tests.simulation import SimulatedClock, simulate

MARK = "NOBODY-MAY-READ-THIS"


class Lines:
    """The JSON lines of a process whose root logger has the handler of replicas."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.handler = EventHandler(
            lambda record: self.texts.append(JsonFormatter().format(record)),
            redact=Redactor(["hunter2-of-kafka"]),
            monotonic_s=self._now_s,
        )

    def _now_s(self) -> float:
        try:
            return SimulatedClock().monotonic()
        except RuntimeError:  # between two simulations
            return 0.0

    def of(self, event: str) -> list[dict[str, Any]]:
        lines = map(json.loads, self.texts)
        return [line for line in lines if line.get("event") == event]

    @property
    def events(self) -> list[str]:
        return [json.loads(text).get("event") for text in self.texts]


@pytest.fixture
def lines() -> Iterator[Lines]:
    found = Lines()
    root = logging.getLogger()
    levels = {name: logging.getLogger(name).level for name in OWN_LOGGERS}
    root.addHandler(found.handler)
    for name in OWN_LOGGERS:
        logging.getLogger(name).setLevel("DEBUG")
    yield found
    root.removeHandler(found.handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def hostile(number: int) -> Message:
    """Return a request that is none, in one of many ways, each with the mark in all its parts."""
    value = [
        f"{MARK} is no JSON".encode(),
        f'{{"custom_id": "{MARK}"'.encode(),
        f'{{"custom_id": 7, "url": "{MARK}", "body": {{"x": "{MARK}"}}}}'.encode(),
        f'["{MARK}"]'.encode(),
        b"\xff\xfe" + MARK.encode(),
        f'\n\x1b[2JERROR {MARK}: "password": "hunter2-of-kafka"'.encode(),
        b'{"custom_id": "' + MARK.encode() * 40_000 + b'"}',
    ][number % 7]
    headers = [("headrace-tenant", MARK.encode()), (f"x-{MARK}", f"{number}".encode())]
    return Message("requests", f"{MARK}-{number}".encode(), value, headers)


def test_a_flood_of_poison_costs_a_few_lines_and_shows_nothing_of_it(lines: Lines) -> None:
    async def main() -> int:
        service = SimulatedService()
        await service.join()
        for start in range(0, 2_100, 70):
            service.broker.append([hostile(number) for number in range(start, start + 70)])
            await asyncio.sleep(1.1)
        await asyncio.sleep(100)
        await service.close()
        # Those whose custom_id can be read are answered.
        return len(service.broker.records("dead-letters"))

    dead_letters = simulate(main())
    lines.handler.report_left_out(all_of_it=True)

    assert MARK not in "".join(lines.texts)
    assert "hunter2" not in "".join(lines.texts)
    assert len(lines.texts) < 120
    letters = lines.of("records_dead_lettered")
    counted = sum(line["more"] if "more" in line else line["records"] for line in letters)
    assert counted == dead_letters > 1_500
    assert {line["topic"] for line in letters} == {"requests"}
    assert all(isinstance(line["offset"], int) for line in letters)


def test_every_line_names_an_event_of_the_table(lines: Lines) -> None:
    async def main() -> None:
        service = SimulatedService()
        first = await service.join()
        service.publish(50, ms=100)
        await service.join()
        await service.until_done()
        service.broker.append([hostile(0)])
        await asyncio.sleep(5)
        await service.leave(first)
        await service.close()

    simulate(main())

    assert set(lines.events) <= {*EVENTS, None}
    assert {"partitions_assigned", "partitions_revoked", "records_dead_lettered"} <= set(
        lines.events
    )


def test_a_record_that_kills_its_replica_is_named_by_its_id_and_place(lines: Lines) -> None:
    async def main() -> None:
        model = CountingModel(is_poison=lambda custom_id: custom_id == "r3")
        retry = RetrySettings(max_attempts=3, first_backoff_ms=10, max_backoff_ms=20)
        service = SimulatedService(model=model, route=ROUTE.model_copy(update={"retry": retry}))
        await service.join()
        service.publish(8, headrace_job=b"nightly")
        await service.until_done()
        await asyncio.sleep(2)
        await service.close()

    simulate(main())

    [letter] = lines.of("records_dead_lettered")
    assert (letter["custom_id"], letter["job"], letter["code"]) == ("r3", "nightly", "model_failed")
    assert letter["attempts"] >= 3
    assert any(line["records"] >= 1 for line in lines.of("records_suspected"))
    failed = lines.of("call_failed")
    assert {line["error_class"] for line in failed} == {"ReplicaDiedError"}
    assert "kills its replica" not in "".join(lines.texts)


def test_a_model_that_is_down_and_comes_back_is_told_of_twice(lines: Lines) -> None:
    async def main() -> None:
        is_down = True
        service = SimulatedService(model=CountingModel(is_poison=lambda _custom_id: is_down))
        await service.join()
        service.publish(20)
        await asyncio.sleep(20)
        is_down = False
        await service.until_done()
        await asyncio.sleep(2)
        await service.close()

    simulate(main())

    assert len(lines.of("breaker_opened")) == 1
    [closed] = lines.of("breaker_closed")
    assert 10 < closed["duration_s"] < 40


def test_reading_that_pauses_for_long_is_told_of_and_its_end(lines: Lines) -> None:
    async def main() -> None:
        flow = FlowSettings(max_records=4)
        service = SimulatedService(route=ROUTE.model_copy(update={"flow": flow}))
        await service.join()
        service.publish(8, ms=3 * LONG_S * 1000)
        await service.until_done()
        await asyncio.sleep(5)
        await service.close()

    simulate(main())

    waiting = lines.of("waiting")
    assert any("flow.max_records" in line["message"] for line in waiting)
    ended = [line for line in lines.of("waiting_ended") if "admission" in line["subject"]]
    assert ended
    assert all(line["duration_s"] >= LONG_S for line in ended)


def test_ordinary_work_says_nothing_but_its_assignment(lines: Lines) -> None:
    async def main() -> None:
        service = SimulatedService()
        await service.join()
        for _ in range(20):
            service.publish(100, ms=5)
            await asyncio.sleep(1)
        await service.until_done()
        await service.close()

    simulate(main())

    assert lines.events == ["partitions_assigned"]


def test_what_happened_last_is_told_before_the_end(lines: Lines) -> None:
    async def main() -> None:
        service = SimulatedService()
        await service.join()
        service.broker.append([Message("requests", b"k", b"no json", [])])
        await asyncio.sleep(0.3)
        await service.close()

    simulate(main())

    assert len(lines.of("records_dead_lettered")) == 1


def test_a_custom_id_of_the_producer_cannot_forge_a_line(lines: Lines) -> None:
    async def main() -> None:
        model = CountingModel(is_poison=lambda _custom_id: True)
        route = ROUTE.model_copy(
            update={"retry": RetrySettings(max_attempts=1, first_backoff_ms=1, max_backoff_ms=1)}
        )
        service = SimulatedService(model=model, route=route)
        await service.join()
        value = request('x\nERROR all is lost\u2028"}')
        service.broker.append([Message("requests", b"k", value, [])])
        await asyncio.sleep(400)
        await service.close()

    simulate(main())

    assert all(text.isprintable() for text in lines.texts)
