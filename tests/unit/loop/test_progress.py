"""What a running consumer knows of its lag, and of the time in which it did not read."""

import asyncio

from consumer.ports import Message, TopicPartition
from schemas.settings.file import FlowSettings
from tests.counting_model import CountingModel
from tests.simulated_service import ROUTE, SimulatedService, request
from tests.simulation import simulate


def test_one_long_record_holds_the_committed_lag_and_is_all_that_is_left() -> None:
    async def main() -> None:
        service = SimulatedService(partitions=1)
        place = TopicPartition("requests", 0)
        service.broker.append([Message("requests", None, request("long", ms=600_000), [])])
        service.expected["long"] = place
        service.publish(2_000, ms=10)
        member = await service.join()
        await asyncio.sleep(60)
        now_s = asyncio.get_running_loop().time()
        backlog = member.engine.progress.backlog(now_s)
        assert backlog is not None
        assert (backlog.lag_records, backlog.remaining_records) == (2_001, 1)
        assert backlog.unread_s == 0.0
        assert 0.0 < member.engine.progress.map_ratio < 1.0
        await service.close()

    simulate(main())


def test_records_that_are_not_read_count_as_left_and_their_wait_grows() -> None:
    async def main() -> None:
        route = ROUTE.model_copy(update={"flow": FlowSettings(max_records=100)})
        service = SimulatedService(
            partitions=1, route=route, model=CountingModel(window_records=100)
        )
        service.publish(1_000, ms=120_000)
        member = await service.join()
        await asyncio.sleep(60)
        now_s = asyncio.get_running_loop().time()
        backlog = member.engine.progress.backlog(now_s)
        assert backlog is not None
        assert backlog.remaining_records == backlog.lag_records == 1_000
        assert 40.0 < backlog.unread_s < 60.0
        assert 40.0 < member.engine.events.admission_closed_seconds <= 60.0
        await service.close()

    simulate(main())


def test_a_consumer_that_reads_on_has_no_closed_time() -> None:
    async def main() -> None:
        service = SimulatedService()
        service.publish(200, ms=10)
        member = await service.join()
        await service.until_done()
        await asyncio.sleep(60)
        assert member.engine.events.admission_closed_seconds == 0.0
        backlog = member.engine.progress.backlog(asyncio.get_running_loop().time())
        assert backlog is not None
        assert (backlog.lag_records, backlog.remaining_records) == (0, 0)
        await service.close()

    simulate(main())
