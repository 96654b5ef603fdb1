"""What exactly-once adds: whatever happens, each outcome stands on the topic once."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.ports import Message, OffsetAndMetadata, TopicPartition
from consumer.replica.build import live_engine_settings
from tests.memory.transactions import TransactionFailure
from tests.simulated_service import ROUTE, SimulatedService
from tests.simulation import simulate
from tests.unit.loop.test_rebalance import ACTIONS, UNCLEAN, run_schedule


@pytest.fixture(autouse=True)
def delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimulatedService, "delivery", "exactly_once")


async def fail_transactions(service: SimulatedService, size: int) -> None:
    """Have the next transactions of every member come to nothing, or lose their answer."""
    kinds = list(TransactionFailure)
    for number, sink in enumerate(service.transactional_sinks):
        sink.fail_next(*(kinds[(size + number + turn) % 2] for turn in range(size % 5)))


async def take_over_by_force(service: SimulatedService, size: int) -> None:
    """Fence a partition's owner, as a member does that was given the partition."""
    partitions = service.broker.partitions("requests")
    service.group.fence(partitions[size % len(partitions)])
    # The group has to notice for the partition to be read on: the owner's session ends.
    for member in list(service.members):
        service.sources[member].expire()


ACTIONS["fail transactions"] = fail_transactions
ACTIONS["take over"] = take_over_by_force


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([*UNCLEAN, "fail transactions", "take over"]), st.integers(1, 60)
        ),
        max_size=14,
    )
)
def test_whatever_happens_each_record_has_one_outcome(schedule: list[tuple[str, int]]) -> None:
    service = simulate(run_schedule([a for a, _ in schedule], [s for _, s in schedule]))
    assert set(service.results()) == set(service.expected)
    assert set(service.results().values()) == {1}


def test_progress_is_committed_with_its_results_or_not_at_all() -> None:
    async def main() -> None:
        service = SimulatedService(partitions=1)
        service.publish(500, ms=10)
        await service.join()
        partition = TopicPartition("requests", 0)
        while service.published_results() < 500:
            service.check_commits()
            await asyncio.sleep(0.005)
        await asyncio.sleep(1)
        assert service.group.committed[partition] == (500, "")
        await service.close()

    simulate(main())


def test_skipped_records_are_committed_though_there_is_no_outcome() -> None:
    async def main() -> None:
        service = SimulatedService(partitions=1)
        service.broker.append([Message("requests", b"k", None, []) for _ in range(20)])
        await service.join()
        await asyncio.sleep(2)
        assert service.group.committed[TopicPartition("requests", 0)] == (20, "")
        await service.close()

    simulate(main())


def test_a_result_over_the_limit_becomes_a_small_one_in_the_next_transaction() -> None:
    async def main() -> None:
        service = SimulatedService(partitions=1)
        service.broker.set_message_limit("dead-letters", 600)
        service.broker.append([Message("requests", b"k", b"x" * 5_000, [])])
        service.publish(3, ms=1)
        await service.join()
        await service.until_done()
        await service.close()
        (letter,) = service.broker.records("dead-letters")
        assert letter.value is None
        assert set(service.results().values()) == {1}
        assert service.group.committed[TopicPartition("requests", 0)] == (4, "")

    simulate(main())


def test_where_the_group_does_not_notice_that_a_partition_is_anothers_the_member_joins_again() -> (
    None
):
    async def main() -> None:
        service = SimulatedService(partitions=2)
        service.publish(10, ms=1)
        member = await service.join()
        await service.until_done()
        generation = service.group.generation
        for partition in service.broker.partitions("requests"):
            service.group.fence(partition)
        service.publish(10, ms=1)
        await asyncio.sleep(service.settings.session_timeout_s / 2)
        assert len(service.results()) == 10, "nobody publishes what may be another's"
        assert member.engine.partitions == []

        await service.until_done()
        assert service.group.generation == generation + 1
        assert len(member.engine.partitions) == 2
        member.check()
        await service.close()
        assert set(service.results().values()) == {1}

    simulate(main())


def test_progress_that_cannot_be_read_stops_the_replica_rather_than_repeat() -> None:
    async def main() -> None:
        service = SimulatedService(partitions=1)
        service.publish(10, ms=1)
        service.group.committed[TopicPartition("requests", 0)] = OffsetAndMetadata(3, "not a map")
        member = await service.join()
        await asyncio.sleep(5)
        with pytest.raises(RuntimeError, match="reset-offsets"):
            member.check()
        assert not service.results()
        await service.crash(member)

    simulate(main())


def test_a_transaction_cut_off_by_a_rebalance_ends_no_replica_long_after_it() -> None:
    async def main() -> None:
        service = SimulatedService(partitions=4)
        service.publish(400, ms=10)
        first = await service.join()
        (sink,) = service.transactional_sinks
        while service.published_results() < 40:
            await asyncio.sleep(0.01)
        # The coordinator is slow: what is under way outlasts the revoke's budget.
        sink.slow_down(service.settings.revoke_budget_s * 3)
        await asyncio.sleep(1)
        await service.join()
        await asyncio.sleep(service.settings.revoke_budget_s * 2)
        sink.slow_down(0.0)
        await asyncio.sleep(service.settings.session_timeout_s * 2)
        first.check()
        await service.until_done()
        await service.close()
        assert set(service.results().values()) == {1}

    simulate(main())


def test_the_sink_hears_of_reply_topics_that_are_allowed_while_it_runs() -> None:
    async def main() -> None:
        service = SimulatedService()
        member = await service.join()
        (sink,) = service.transactional_sinks
        route = ROUTE.model_copy(update={"reply_topics": ("b-*",)})
        member.reconfigure(live_engine_settings(route))
        assert sink.allowed_replies == {"b-*"}
        await service.close()

    simulate(main())
