"""Cancelling in simulated time."""

import asyncio

import orjson

from consumer.ports import Message
from handoff.cancelling import AGAIN_AFTER_S
from schemas.wire.control import ControlRecord
from tests.counting_model import CountingModel
from tests.simulated_service import ROUTE, SimulatedService
from tests.simulation import simulate

CONTROLLED = ROUTE.model_copy(update={"control_topic": "control"})


def cancel(service: SimulatedService, **target: object) -> None:
    control = ControlRecord.model_validate({"action": "cancel", "route": "embeddings", **target})
    service.broker.append([Message("control", control.key, control.to_json(), [])])


def codes(service: SimulatedService) -> dict[str, str | None]:
    lines = [orjson.loads(each.value or b"") for each in service.broker.records("results")]
    assert len({line["custom_id"] for line in lines}) == len(lines)
    return {
        line["custom_id"]: None if line["error"] is None else line["error"]["code"]
        for line in lines
    }


def test_a_cancelled_job_ends_queued_and_running_and_others_go_on() -> None:
    async def main() -> None:
        service = SimulatedService(route=CONTROLLED, model=CountingModel(window_records=4))
        nightly = service.publish(40, ms=60_000, headrace_job=b"nightly")
        await service.join()
        await asyncio.sleep(1)
        running = service.model.in_flight
        assert running
        cancel(service, job="nightly")
        await asyncio.sleep(1)
        others = service.publish(4, ms=100, headrace_job=b"daily")
        before_s = service.clock.monotonic()
        await service.until_done()
        assert service.clock.monotonic() - before_s < 2
        assert codes(service) == dict.fromkeys(nightly, "request_cancelled") | dict.fromkeys(others)
        assert sum(service.model.started[each] for each in nightly) == running
        await service.close()
        service.check_commits()

    simulate(main())


def test_a_call_that_is_cancelled_before_it_has_begun_ends_all_the_same() -> None:
    async def main() -> None:
        service = SimulatedService(route=CONTROLLED, partitions=1)
        member = await service.join()
        await asyncio.sleep(1)
        (custom_id,) = service.publish(1, ms=5_000)
        (record,) = service.broker.records("requests")
        # All within one turn of the event loop.
        service.sources[member].seek(record.partition, record.offset + 1)
        member.engine.deliver([record], service.clock.monotonic(), service.clock.epoch_ms())
        member._start_calls()
        control = ControlRecord(action="cancel", route="embeddings", custom_id=custom_id)
        member._cancel([(control, service.clock.epoch_ms() + 1)])
        await asyncio.sleep(1)
        assert not member._calls
        assert member.engine.in_flight_records == 0
        assert codes(service) == {custom_id: "request_cancelled"}
        await service.close()

    simulate(main())


def test_what_is_published_later_under_the_same_name_runs() -> None:
    async def main() -> None:
        service = SimulatedService(route=CONTROLLED)
        first = service.publish(5, ms=10_000, headrace_job=b"again")
        await service.join()
        await asyncio.sleep(1)
        cancel(service, job="again")
        await asyncio.sleep(1)
        second = service.publish(5, ms=10, headrace_job=b"again")
        await service.until_done()
        assert codes(service) == dict.fromkeys(first, "request_cancelled") | dict.fromkeys(second)
        await service.close()

    simulate(main())


def test_a_consumer_that_starts_later_knows_what_was_cancelled() -> None:
    async def main() -> None:
        service = SimulatedService(route=CONTROLLED)
        ids = service.publish(20)
        await asyncio.sleep(1)
        cancel(service, custom_id=ids[7])
        service.broker.append([Message("control", None, b"nonsense", [])])
        member = await service.join()
        await service.until_done()
        assert codes(service) == dict.fromkeys(ids) | {ids[7]: "request_cancelled"}
        assert ids[7] not in service.model.started
        assert member.engine.counters.unreadable_control_records == 1
        assert member.engine.counters.cancelled_records == 1
        await service.close()

    simulate(main())


def test_a_chunk_goes_on_for_those_who_still_want_it() -> None:
    async def main() -> None:
        service = SimulatedService(route=CONTROLLED, partitions=1)
        ids = service.publish(8, ms=5_000)
        member = await service.join()
        await asyncio.sleep(1)
        assert len(member._calls) == 1
        cancel(service, custom_id=ids[3])
        await asyncio.sleep(0.1)
        assert service.model.in_flight == 7, "its slot is free"
        await asyncio.sleep(0.9)
        assert codes(service) == {ids[3]: "request_cancelled"}
        assert member.engine.in_flight_records == 7
        await service.until_done()
        assert codes(service) == dict.fromkeys(ids) | {ids[3]: "request_cancelled"}
        assert member.engine.held_records == 0
        assert member.engine.held_bytes == 0
        assert member.engine.in_flight_records == 0
        await service.close()

    simulate(main())


def test_a_replica_that_no_cancellation_reaches_has_its_calls_closed() -> None:
    async def main() -> None:
        model = CountingModel(window_records=64)
        model.takes_cancellations = False
        service = SimulatedService(route=CONTROLLED, model=model, partitions=1)
        ids = service.publish(16, ms=60_000, headrace_job=b"nightly")
        member = await service.join()
        await asyncio.sleep(1)
        assert model.in_flight == 16
        cancel(service, job="nightly")
        await asyncio.sleep(1)
        assert codes(service) == dict.fromkeys(ids, "request_cancelled")
        assert model.in_flight == 16
        await asyncio.sleep(AGAIN_AFTER_S + 1)
        assert model.in_flight == 0
        assert member.engine.in_flight_records == 0
        await service.close()

    simulate(main())


def test_a_lost_partition_frees_its_records_and_no_others() -> None:
    async def main() -> None:
        model = CountingModel(window_records=64)
        service = SimulatedService(route=CONTROLLED, model=model)
        service.publish(16, ms=30_000)
        first = await service.join()
        await asyncio.sleep(1)
        assert model.in_flight == 16
        await service.join()
        await asyncio.sleep(5)
        # What moved is computed by its new owner alone.
        assert model.in_flight == 16
        assert 0 < first.engine.in_flight_records < 16
        await service.until_done()
        assert set(service.results().values()) == {1}
        await service.close()
        service.check_commits()

    simulate(main())


def test_retries_that_wait_and_records_held_in_their_order_are_cancelled_too() -> None:
    async def main() -> None:
        route = CONTROLLED.model_copy(update={"ordering": "partition"})
        model = CountingModel(is_poison=lambda custom_id: custom_id == "r0")
        service = SimulatedService(route=route, partitions=1, model=model)
        ids = service.publish(6, ms=10)
        member = await service.join()
        await asyncio.sleep(0.05)
        cancel(service, whole_route=True)
        await service.until_done()
        assert codes(service) == dict.fromkeys(ids, "request_cancelled")
        assert service.broker.records("dead-letters") == []
        await asyncio.sleep(60)
        member.check()
        assert member.engine.held_bytes == 0
        await service.close()

    simulate(main())


def test_cancelling_every_call_trips_no_breaker() -> None:
    async def main() -> None:
        service = SimulatedService(route=CONTROLLED, model=CountingModel(window_records=4))
        await service.join()
        for _ in range(6):
            service.publish(4, ms=60_000)
            await asyncio.sleep(0.3)
            cancel(service, whole_route=True)
            await asyncio.sleep(0.3)
        await service.until_done()
        late = service.publish(1, ms=10)
        before_s = service.clock.monotonic()
        await service.until_done()
        assert service.clock.monotonic() - before_s < 0.5
        assert codes(service)[late[0]] is None
        await service.close()

    simulate(main())
