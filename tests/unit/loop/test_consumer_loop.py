"""The consumer loop in simulated time."""

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest

from consumer.loop.settings import LoopSettings
from consumer.ports import Message, OffsetAndMetadata, TopicPartition
from handoff.chunk import Chunk, Outcomes
from schemas.settings.file import FlowSettings
from tests.counting_model import CountingModel
from tests.simulated_service import ROUTE, SimulatedService, request
from tests.simulation import EPOCH_MS, simulate


def test_every_record_is_answered_once_and_committed() -> None:
    async def main() -> None:
        service = SimulatedService()
        service.publish(2_000, ms=20)
        await service.join()
        await service.until_done()
        await service.close()
        assert set(service.results().values()) == {1}
        for partition in service.broker.partitions("requests"):
            end = service.broker.log(partition).end_offset
            assert service.group.committed[partition] == (end, "")

    simulate(main())


def test_a_long_record_holds_back_neither_results_nor_commits() -> None:
    async def main() -> None:
        service = SimulatedService(partitions=1)
        service.broker.append([Message("requests", None, request("long", ms=600_000), [])])
        service.expected["long"] = TopicPartition("requests", 0)
        service.publish(5_000, ms=10)
        await service.join()
        await asyncio.sleep(30)
        assert len(service.results()) == 5_000
        point = service.group.committed[TopicPartition("requests", 0)]
        assert point.offset == 0
        # A new owner takes over from the map: only the long one is computed again.
        await service.crash(service.members[0])
        await service.join()
        await service.until_done(timeout_s=1_300)
        assert service.model.started["long"] == 2
        assert max(n for each, n in service.model.started.items() if each != "long") == 1
        assert set(service.results().values()) == {1}
        await service.close()

    simulate(main())


def test_memory_is_bounded_by_the_settings_whatever_the_backlog() -> None:
    async def main() -> None:
        route = ROUTE.model_copy(update={"flow": FlowSettings(max_records=500)})
        service = SimulatedService(route=route, model=CountingModel(window_records=100))
        service.publish(20_000, ms=50)
        member = await service.join()
        most = 0
        while service.published_results() < 20_000:
            most = max(most, member.engine.held_records)
            await asyncio.sleep(0.01)
        assert most <= 500
        assert service.model.most_in_flight <= 256
        await service.close()

    simulate(main())


def test_a_broker_that_is_away_stops_intake_and_nothing_is_lost() -> None:
    async def main() -> None:
        route = ROUTE.model_copy(update={"flow": FlowSettings(max_records=500)})
        service = SimulatedService(route=route)
        service.publish(5_000, ms=5)
        member = await service.join()
        await asyncio.sleep(0.1)
        service.broker.go_away()
        await asyncio.sleep(60)
        assert member.engine.held_records <= 500
        service.broker.come_back()
        await service.until_done()
        await service.close()
        assert set(service.results().values()) == {1}

    simulate(main())


def test_a_clean_stop_finishes_what_is_in_flight_and_leaves_the_rest_uncomputed() -> None:
    async def main() -> None:
        service = SimulatedService(model=CountingModel(window_records=64))
        service.publish(3_000, ms=100)
        first = await service.join()
        await asyncio.sleep(1.03)
        await service.leave(first)
        computed = sum(service.model.computed.values())
        assert computed == len(service.results()) < 3_000
        assert sum(service.model.started.values()) == computed
        service.check_commits()
        await service.join()
        await service.until_done()
        await service.close()
        assert set(service.model.started.values()) == {1}
        assert set(service.results().values()) == {1}

    simulate(main())


class HeardLate(CountingModel):
    """Begins at once; that it accepted a call is heard later."""

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        sent: asyncio.Queue[Outcomes | None] = asyncio.Queue()

        async def compute() -> None:
            async for outcomes in super(HeardLate, self).infer(chunk):
                sent.put_nowait(outcomes)
            sent.put_nowait(None)

        computing = asyncio.ensure_future(compute())
        try:
            await asyncio.sleep(0.3)
            while (outcomes := await sent.get()) is not None:
                yield outcomes
        finally:
            computing.cancel()


def test_a_drain_waits_to_hear_of_calls_on_their_way() -> None:
    async def main() -> None:
        service = SimulatedService(model=HeardLate())
        service.publish(2_000, ms=20)
        first = await service.join()
        await asyncio.sleep(1)
        await service.leave(first)
        assert 0 < len(service.results()) < 2_000
        await service.join()
        await service.until_done()
        await service.close()
        assert set(service.model.started.values()) == {1}

    simulate(main())


def test_a_drain_gives_up_on_work_that_takes_too_long_and_leaves_it_to_the_next() -> None:
    async def main() -> None:
        service = SimulatedService(settings=LoopSettings(drain_timeout_s=5.0))
        service.publish(1, ms=3_600_000)
        first = await service.join()
        await asyncio.sleep(1)
        before_s = service.clock.monotonic()
        await service.leave(first)
        assert service.clock.monotonic() - before_s < 7
        assert service.model.in_flight == 0
        assert service.results() == {}

    simulate(main())


def test_a_poison_record_costs_its_neighbours_nothing() -> None:
    async def main() -> None:
        model = CountingModel(is_poison=lambda custom_id: custom_id == "r77")
        service = SimulatedService(model=model)
        service.publish(1_000, ms=10)
        await service.join()
        await service.until_done()
        await service.close()
        letters = service.broker.records("dead-letters")
        assert [orjson.loads(each.value or b"")["custom_id"] for each in letters] == ["r77"]
        assert set(service.results().values()) == {1}
        failed = [
            orjson.loads(each.value or b"")
            for each in service.broker.records("results")
            if orjson.loads(each.value or b"")["error"]
        ]
        assert [each["custom_id"] for each in failed] == ["r77"]

    simulate(main())


def test_a_replica_that_dies_costs_no_record() -> None:
    async def main() -> None:
        service = SimulatedService()
        service.publish(2_000, ms=50)
        await service.join()
        for _ in range(3):
            await asyncio.sleep(0.2)
            await service.model.kill()
        await service.until_done()
        await service.close()
        assert set(service.results().values()) == {1}
        assert service.broker.records("dead-letters") == []

    simulate(main())


def test_deadlines_are_answered_in_time_though_the_model_is_busy() -> None:
    async def main() -> None:
        service = SimulatedService(model=CountingModel(window_records=1))
        service.publish(300, ms=60_000)
        await service.join()
        await asyncio.sleep(1)
        deadline_ms = EPOCH_MS + int(service.clock.monotonic() * 1000) + 2_000
        ids = service.publish(5, headrace_deadline=b"%d" % deadline_ms)
        await asyncio.sleep(2.5)
        assert set(ids) <= set(service.results())
        assert not set(ids) & set(service.model.started)

    simulate(main())


def test_idle_records_go_straight_through() -> None:
    async def main() -> None:
        service = SimulatedService()
        await service.join()
        await asyncio.sleep(10)
        before_s = service.clock.monotonic()
        service.publish(1)
        while not service.results():
            await asyncio.sleep(0.001)
        transaction_s = 0.02 if service.route.delivery == "exactly_once" else 0.0
        assert service.clock.monotonic() - before_s < 0.02 + transaction_s
        await service.close()

    simulate(main())


def test_a_topic_that_takes_no_dead_letter_fails_the_replica_rather_than_lose_records() -> None:
    async def main() -> None:
        service = SimulatedService()
        for topic in ("results", "dead-letters"):
            service.broker.refuse(topic, lambda _message: "message.timestamp.after.max.ms")
        service.publish(1)
        member = await service.join()
        await asyncio.sleep(5)
        with pytest.raises(RuntimeError, match=r"requests.*offset 0.*message\.timestamp"):
            member.check()
        assert service.group.committed.get(TopicPartition("requests", 0)) in (None, (0, ""))
        service.check_commits()

    simulate(main())


def test_a_record_whose_result_is_refused_holds_up_nobody() -> None:
    async def main() -> None:
        service = SimulatedService(partitions=1)
        for topic in ("results", "dead-letters"):
            service.broker.need_keys(topic)
        service.publish(20)
        service.broker.append([Message("requests", None, request("keyless"), [])])
        service.publish(20)
        member = await service.join()
        await service.until_done()
        await asyncio.sleep(5)
        member.check()
        await service.close()
        (letter,) = service.broker.records("dead-letters")
        assert letter.value == request("keyless")
        assert dict(letter.headers)["headrace-error-code"] == b"result_refused"
        assert set(service.results().values()) == {1}
        assert service.results()["keyless"] == 1, "whoever waits for it is told"
        assert service.group.committed[TopicPartition("requests", 0)] == (41, "")

    simulate(main())


def test_a_results_topic_that_takes_next_to_nothing_leaves_dead_letters() -> None:
    async def main() -> None:
        service = SimulatedService(partitions=1)
        service.broker.set_message_limit("results", 10)
        service.publish(5)
        member = await service.join()
        await asyncio.sleep(5)
        member.check()
        await service.close()
        assert len(service.broker.records("dead-letters")) == 5
        assert service.group.committed[TopicPartition("requests", 0)] == (5, "")

    simulate(main())


def test_a_result_over_the_topics_limit_becomes_an_error_result() -> None:
    async def main() -> None:
        service = SimulatedService()
        service.broker.set_message_limit("dead-letters", 600)
        bad = b"x" * 5_000
        service.broker.append([Message("requests", b"k", bad, [])])
        service.publish(10)
        await service.join()
        await service.until_done()
        await service.close()
        (letter,) = service.broker.records("dead-letters")
        assert letter.value is None
        assert dict(letter.headers)["headrace-omitted-value-bytes"] == b"5000"

    simulate(main())


def test_commits_follow_each_other_when_the_interval_is_nought() -> None:
    async def main() -> None:
        service = SimulatedService(settings=LoopSettings(commit_interval_s=0.0))
        service.publish(50, ms=10)
        await service.join()
        await service.until_done()
        await asyncio.sleep(0.01)
        assert sum(point.offset for point in service.group.committed.values()) == 50
        await service.close()

    simulate(main())


def test_nothing_new_is_dispatched_between_revoke_and_assign() -> None:
    async def main() -> None:
        service = SimulatedService(model=CountingModel(window_records=32))
        service.publish(1_000, ms=100)
        member = await service.join()
        await asyncio.sleep(0.55)
        await member.revoking()
        started = sum(service.model.started.values())
        await asyncio.sleep(1)
        assert sum(service.model.started.values()) == started
        await member.assigned(service.broker.partitions("requests"))
        await service.until_done()
        await service.close()
        assert set(service.model.started.values()) == {1}

    simulate(main())


def test_substitutes_are_published_though_nothing_else_happens() -> None:
    async def main() -> None:
        route = ROUTE.model_copy(update={"flow": FlowSettings(max_records=8)})
        service = SimulatedService(route=route)
        service.broker.set_message_limit("dead-letters", 600)
        letters = [Message("requests", None, b"x" * 5_000, []) for _ in range(8)]
        service.broker.append(letters)
        member = await service.join()
        await asyncio.sleep(5)
        assert member.engine.held_records == 0
        assert len(service.broker.records("dead-letters")) == 8
        await service.close()

    simulate(main())


def test_what_retention_deleted_before_it_was_read_is_counted() -> None:
    async def main() -> None:
        service = SimulatedService(partitions=1)
        partition = TopicPartition("requests", 0)
        service.group.committed[partition] = OffsetAndMetadata(0, "")
        service.publish(10)
        service.broker.log(partition).move_start(4)

        member = await service.join()
        await asyncio.sleep(5)
        counters = member.engine.counters
        await service.close()

        assert counters.lost_to_retention_records == 4
        assert counters.received_records == counters.completed_records == 6
        assert service.group.committed[partition].offset == 10

    simulate(main())
