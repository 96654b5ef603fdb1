"""Large bodies in simulated time: to the store and from it, beside everything else."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from consumer.loop.consumer_loop import ConsumerLoop
from consumer.ports import Message
from handoff.chunk import Chunk, Outcomes
from schemas.settings.file import ClaimCheckSettings, FlowSettings, LimitSettings
from tests.counting_model import CountingModel
from tests.simulated_service import ROUTE, URL, SimulatedService
from tests.simulation import simulate
from tests.stored_bodies import StoredBodies

LARGE_BYTES = 4_000
CLAIM_CHECK = ClaimCheckSettings(
    store="memory://store",
    over_bytes=1_024,
    request_prefixes=("memory://in",),
    max_object_bytes=20_000,
    give_up_after_s=60,
)
STORING = ROUTE.model_copy(update={"claim_check": CLAIM_CHECK})


class LargeModel(CountingModel):
    """Answers at length where a custom_id says so."""

    async def _compute(self, line: bytes) -> bytes:
        answer = await super()._compute(line)
        request = orjson.loads(line)
        padding = request["body"].get("answer_bytes", 0)
        return orjson.dumps(orjson.loads(answer) | {"padding": "x" * padding})


class ToldModel(CountingModel):
    """Keeps what chunks say of the size of answers."""

    def __init__(self) -> None:
        super().__init__()
        self.told_bytes: set[int] = set()

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        self.told_bytes.add(chunk.max_body_bytes)
        async for outcomes in super().infer(chunk):
            yield outcomes


def service_with(store: StoredBodies, **changes: object) -> SimulatedService:
    route = STORING.model_copy(update=changes)
    service = SimulatedService(route=route, model=LargeModel())
    service.store = store
    return service


def send(service: SimulatedService, custom_id: str, **line: object) -> None:
    service.expected[custom_id] = service.broker.partitions("requests")[0]
    value = orjson.dumps({"custom_id": custom_id, "url": URL, **line})
    service.broker.append([Message("requests", custom_id.encode(), value, [])])


def lines(service: SimulatedService) -> dict[str, dict[str, Any]]:
    found = [orjson.loads(each.value or b"") for each in service.broker.records("results")]
    assert len({line["custom_id"] for line in found}) == len(found)
    return {line["custom_id"]: line for line in found}


async def let_go(member: ConsumerLoop) -> None:
    """Wait until what was published is acknowledged: then nothing may be held any more."""
    async with asyncio.timeout(5):
        while member.engine.held_records:
            await asyncio.sleep(0.01)
    assert member.engine.held_bytes == 0


def test_a_large_result_is_stored_before_its_reference_is_published() -> None:
    async def main() -> None:
        store = StoredBodies()
        service = service_with(store)
        send(service, "large", body={"answer_bytes": LARGE_BYTES})
        send(service, "small", body={})
        member = await service.join()
        await service.until_done()
        response = lines(service)["large"]["response"]
        assert set(response) == {"status_code", "request_id", "body_ref"}
        body = store.bodies[response["body_ref"]["url"]]
        assert orjson.loads(body)["echo"] == "large"
        assert response["body_ref"]["size_bytes"] == len(body)
        assert response["body_ref"]["sha256"] == hashlib.sha256(body).hexdigest()
        assert "body" in lines(service)["small"]["response"]
        await let_go(member)
        await service.close()
        service.check_commits()

    simulate(main())


def test_a_result_over_what_the_store_takes_says_so() -> None:
    async def main() -> None:
        limits = LimitSettings(max_result_bytes=2_000)
        service = service_with(StoredBodies(), limits=limits)
        send(service, "huge", body={"answer_bytes": 30_000})
        await service.join()
        await service.until_done()
        assert lines(service)["huge"]["error"]["code"] == "result_too_large"
        await service.close()

    simulate(main())


@pytest.mark.parametrize(
    ("claim_check", "max_body_bytes"), [(None, 2_000), (CLAIM_CHECK, CLAIM_CHECK.max_object_bytes)]
)
def test_the_model_is_told_how_large_an_answer_may_be(
    claim_check: ClaimCheckSettings | None, max_body_bytes: int
) -> None:
    async def main() -> None:
        limits = LimitSettings(max_result_bytes=2_000)
        service = service_with(StoredBodies(), limits=limits, claim_check=claim_check)
        model = service.model = ToldModel()
        send(service, "any", body={})
        await service.join()
        await service.until_done()
        assert model.told_bytes == {max_body_bytes}
        await service.close()

    simulate(main())


def test_while_the_store_is_away_others_go_on_and_nothing_is_lost() -> None:
    async def main() -> None:
        store = StoredBodies()
        store.is_away = True
        service = service_with(store)
        for number in range(20):
            send(service, f"large-{number}", body={"answer_bytes": LARGE_BYTES})
        service.publish(50, ms=10)
        member = await service.join()
        await asyncio.sleep(5)
        assert len(lines(service)) == 50
        service.check_commits()
        store.is_away = False
        await service.until_done()
        assert len(store.bodies) == 20
        assert store.most_at_once <= 8
        await let_go(member)
        assert service.broker.records("dead-letters") == []
        await service.close()

    simulate(main())


def test_a_store_that_stays_away_makes_dead_letters_in_the_end() -> None:
    async def main() -> None:
        store = StoredBodies()
        store.is_away = True
        service = service_with(store)
        send(service, "large", body={"answer_bytes": LARGE_BYTES})
        send(service, "far", body_ref={"url": "memory://in/far.json"})
        member = await service.join()
        await service.until_done()
        assert service.clock.monotonic() >= 60
        found = lines(service)
        assert {found[each]["error"]["code"] for each in ("large", "far")} == {"store_failed"}
        letters = service.broker.records("dead-letters")
        assert len(letters) == 2
        await let_go(member)
        await service.close()
        service.check_commits()

    simulate(main())


def test_a_request_that_is_a_reference_is_computed_as_if_it_were_there() -> None:
    async def main() -> None:
        store = StoredBodies()
        store.bodies["memory://in/a.json"] = orjson.dumps({"ms": 50})
        service = service_with(store)
        send(service, "a", body_ref={"url": "memory://in/a.json"})
        member = await service.join()
        await service.until_done()
        assert lines(service)["a"]["response"]["body"]["echo"] == "a"
        assert service.model.started["a"] == 1
        await let_go(member)
        await service.close()

    simulate(main())


@pytest.mark.parametrize(
    ("reference", "status"),
    [
        ({"url": "memory://in/missing.json"}, 404),
        ({"url": "memory://in/text.json"}, 400),
        ({"url": "memory://other/a.json"}, 400),
        ({"url": "memory://in/../other/a.json"}, 400),
        ({"url": "memory://in/%2e%2e/a.json"}, 400),
        ({"url": "file:///etc/passwd"}, 400),
        ({"url": "memory://in/a.json", "size_bytes": 20_001}, 400),
    ],
)
def test_a_reference_that_cannot_be_followed_is_a_result_with_a_status(
    reference: dict[str, Any], status: int
) -> None:
    async def main() -> None:
        store = StoredBodies()
        store.bodies["memory://in/text.json"] = b'{"a":1},"url":"/v1/other","x":{}'
        service = service_with(store)
        send(service, "a", body_ref=reference)
        member = await service.join()
        await service.until_done()
        assert lines(service)["a"]["response"]["status_code"] == status
        assert not service.model.started
        await let_go(member)
        await service.close()

    simulate(main())


def test_without_prefixes_no_request_may_be_a_reference() -> None:
    async def main() -> None:
        service = service_with(StoredBodies(), claim_check=None)
        send(service, "a", body_ref={"url": "memory://in/a.json"})
        await service.join()
        await service.until_done()
        assert lines(service)["a"]["response"]["status_code"] == 400
        await service.close()

    simulate(main())


@pytest.mark.parametrize("says_size", [True, False])
def test_fetched_bodies_stay_within_the_bytes_that_may_be_held(says_size: bool) -> None:
    async def main() -> None:
        store = StoredBodies()
        body = orjson.dumps({"ms": 100, "padding": "x" * 15_000})
        flow = FlowSettings(max_bytes=50_000)
        service = service_with(store, flow=flow)
        size = {"size_bytes": len(body)} if says_size else {}
        for number in range(40):
            url = f"memory://in/{number}.json"
            store.bodies[url] = body
            send(service, f"far-{number}", body_ref={"url": url} | size)
        service.publish(100, ms=10)
        member = await service.join()
        most_bytes = 0
        while len(lines(service)) < len(service.expected):
            most_bytes = max(most_bytes, member.engine.held_bytes)
            member.check()
            await asyncio.sleep(0.001)
        # One body more, by what stands in the records and the results themselves.
        assert most_bytes < 50_000 + 2 * len(body)
        await let_go(member)
        await service.close()

    simulate(main())


def test_a_body_larger_than_all_that_may_be_held_is_fetched_alone() -> None:
    async def main() -> None:
        store = StoredBodies()
        store.bodies["memory://in/a.json"] = orjson.dumps({"padding": "x" * 15_000})
        service = service_with(store, flow=FlowSettings(max_bytes=1_024))
        for number in range(3):
            send(service, f"far-{number}", body_ref={"url": "memory://in/a.json"})
        await service.join()
        await service.until_done()
        assert all(line["response"]["status_code"] == 200 for line in lines(service).values())
        await service.close()

    simulate(main())


def test_what_moves_when_the_consumer_stops_is_left_to_the_next() -> None:
    async def main() -> None:
        store = StoredBodies(move_s=2.0)
        store.bodies["memory://in/a.json"] = orjson.dumps({"ms": 10})
        service = service_with(store)
        send(service, "large", body={"answer_bytes": LARGE_BYTES})
        send(service, "far", body_ref={"url": "memory://in/a.json"})
        first = await service.join()
        await asyncio.sleep(0.5)
        await service.leave(first)
        assert set(lines(service)) == {"large"}
        await let_go(first)
        await service.join()
        await service.until_done()
        assert service.model.started == {"large": 1, "far": 1}
        await service.close()
        service.check_commits()

    simulate(main())


def test_a_redelivered_record_gives_the_same_object() -> None:
    async def main() -> None:
        store = StoredBodies(move_s=1.0)
        service = service_with(store)
        send(service, "large", body={"answer_bytes": LARGE_BYTES})
        first = await service.join()
        await asyncio.sleep(0.5)
        await service.crash(first)
        await service.join()
        await service.until_done()
        assert len(store.bodies) == 1
        await service.close()

    simulate(main())
