"""Jobs that wait share a route, whoever filled its topic first."""

import asyncio
from collections import Counter

import orjson
import pytest

from consumer.ports import Message, TopicPartition
from tests.counting_model import CountingModel
from tests.simulated_service import ROUTE, SimulatedService, request
from tests.simulation import simulate

RECORD_MS = 100
WINDOW_RECORDS = 256
RECORDS_PER_S = WINDOW_RECORDS * 1000 / RECORD_MS


class Answers:
    """When each result came on the topic, by its job."""

    def __init__(self, service: SimulatedService) -> None:
        self._service = service
        self._seen: dict[TopicPartition, int] = {}
        self.last_at_s: dict[str, float] = {}
        self.counts: Counter[str] = Counter()

    async def until(self, job: str, records: int) -> None:
        async with asyncio.timeout(600):
            while self.counts[job] < records:
                await asyncio.sleep(0.01)
                self._look()

    def _look(self) -> None:
        broker = self._service.broker
        for partition in broker.partitions("results"):
            for record in broker.log(partition).read(self._seen.get(partition, 0), 1 << 30):
                job = dict(record.headers).get("headrace-job", b"") or b""
                self.counts[job.decode()] += 1
                self.last_at_s[job.decode()] = self._service.clock.monotonic()
                self._seen[partition] = record.offset + 1


def service_of(**route: object) -> SimulatedService:
    return SimulatedService(
        model=CountingModel(window_records=WINDOW_RECORDS), route=ROUTE.model_copy(update=route)
    )


def publish(service: SimulatedService, job: str, records: int, **headers: bytes) -> None:
    service.publish(records, RECORD_MS, headrace_job=job.encode(), **headers)


def test_a_small_job_is_done_in_its_fair_time_beside_one_that_filled_the_topic() -> None:
    async def main() -> None:
        service = service_of()
        answers = Answers(service)
        publish(service, "flood", 10_000)
        member = await service.join()
        await answers.until("flood", 1)
        assert member.engine.held_records > 9_000
        began_s = service.clock.monotonic()
        publish(service, "small", 100)
        await answers.until("small", 100)
        took_s = service.clock.monotonic() - began_s
        # Half of the route is its fair share; what is in flight when it comes runs to its end.
        fair_s = 100 / (RECORDS_PER_S / 2) + RECORD_MS / 1000
        assert took_s < 3 * fair_s
        assert answers.counts["flood"] < 2_000
        await service.until_done()
        assert service.clock.monotonic() - began_s == pytest.approx(
            10_000 / RECORDS_PER_S, rel=0.15
        )
        await service.close()

    simulate(main())


@pytest.mark.parametrize("ordering", ["none", "key"])
def test_weights_share_the_route(ordering: str) -> None:
    async def main() -> None:
        service = service_of(ordering=ordering)
        answers = Answers(service)
        publish(service, "light", 6_000)
        publish(service, "heavy", 6_000, headrace_job_weight=b"3")
        await service.join()
        # The first records read were of one job alone.
        await answers.until("heavy", 1_000)
        earlier = answers.counts.copy()
        await answers.until("heavy", 5_000)
        had = answers.counts - earlier
        assert had["heavy"] / had["light"] == pytest.approx(3.0, rel=0.03)
        await service.until_done()
        await service.close()

    simulate(main())


def test_jobs_share_through_failures_and_the_record_of_none_is_lost(delivery: str) -> None:
    async def main() -> None:
        service = service_of()
        service.model._is_poison = lambda custom_id: custom_id in {"r17", "r1017"}
        answers = Answers(service)
        publish(service, "poisoned", 2_000)
        publish(service, "sound", 2_000)
        await service.join()
        await answers.until("sound", 1_900)
        assert answers.counts["poisoned"] <= 2_000
        await service.until_done()
        service.check_commits()
        await service.close()

    simulate(main())


def test_a_flood_that_is_not_read_yet_is_read_first() -> None:
    """Partitions are read in order: only what is held can take turns."""

    async def main() -> None:
        flow = ROUTE.flow.model_copy(update={"max_records": 1_000})
        service = service_of(flow=flow)
        answers = Answers(service)
        publish(service, "flood", 5_000)
        publish(service, "small", 100)
        await service.join()
        await answers.until("small", 100)
        assert 4_000 < answers.counts["flood"] < 5_000
        await service.until_done()
        await service.close()

    simulate(main())


def test_a_producer_with_a_window_is_never_read_late() -> None:
    """A job that keeps few records on the topic leaves room for all others: bulk jobs do so."""

    async def main() -> None:
        flow = ROUTE.flow.model_copy(update={"max_records": 1_000})
        service = service_of(flow=flow)
        answers = Answers(service)
        await service.join()

        async def run(job: str, records: int, window: int) -> None:
            sent = 0
            while sent < records:
                await answers.until(job, sent - window // 2)
                publish(service, job, window // 2)
                sent += window // 2

        flood = asyncio.create_task(run("flood", 5_000, 800))
        await answers.until("flood", 1_000)
        began_s = service.clock.monotonic()
        await run("small", 400, 100)
        await answers.until("small", 400)
        fair_s = 400 / (RECORDS_PER_S / 2)
        assert service.clock.monotonic() - began_s < 4 * fair_s
        await flood
        await service.until_done()
        await service.close()

    simulate(main())


def test_results_of_jobs_are_complete_and_once(delivery: str) -> None:
    async def main() -> None:
        service = service_of()
        for round_ in range(10):
            for job in range(7):
                publish(service, f"job-{job}", 20, headrace_job_weight=b"%d" % (job + round_))
        service.broker.append([Message("requests", None, request("plain"), [])])
        await service.join()
        await service.join()
        await service.until_done()
        results = Counter(
            orjson.loads(record.value or b"")["custom_id"]
            for record in service.broker.records("results")
        )
        assert set(results.values()) == {1}
        assert len(results) == 1_401
        await service.close()

    simulate(main())
