"""Consumers that come and go in mid-stream, in simulated time."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.ports import Message, SourceError
from schemas.settings.file import RetrySettings
from tests.counting_model import CountingModel
from tests.memory.sink import MemorySink
from tests.simulated_service import ROUTE, SimulatedService
from tests.simulation import SimulatedClock, simulate


def test_a_partition_that_stays_computes_nothing_twice() -> None:
    async def main() -> None:
        service = SimulatedService(partitions=6, model=CountingModel(window_records=64))
        service.publish(6_000, ms=100)
        first = await service.join()
        await asyncio.sleep(1)
        kept = set(first.engine.partitions)
        in_flight_at_moves: set[str] = set()

        def note_in_flight() -> None:
            for member in service.members:
                for call in member._calls.values():
                    in_flight_at_moves.update(
                        item.custom_id or "" for item in call._items if item is not None
                    )

        for _ in range(2):
            note_in_flight()
            await service.join()
            await asyncio.sleep(0.5)
        kept &= set(first.engine.partitions)
        assert len(kept) == 2
        note_in_flight()
        await service.leave(service.members[1])
        await service.until_done()
        await service.close()

        assert set(service.results().values()) == {1}
        twice = {each for each, count in service.model.started.items() if count > 1}
        assert twice <= in_flight_at_moves
        stayed = {
            (record.key or b"").decode()
            for record in service.broker.records("requests")
            if record.partition in kept
        }
        assert not twice & stayed

    simulate(main())


class PausedClock(SimulatedClock):
    """The clock of a process that stood still for a while: all at once it is later."""

    def __init__(self) -> None:
        self.paused_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.paused_s


def test_a_member_that_stood_still_for_too_long_publishes_nothing_before_the_group_has_spoken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        service = SimulatedService(partitions=1, model=CountingModel(window_records=64))
        clock = PausedClock()
        paused = await service.join(clock)
        service.publish(20, ms=1_000)
        await asyncio.sleep(0.5)
        assert paused.engine.in_flight_records == 20

        rejoin = service.sources[paused].rejoin
        asked: list[float] = []
        monkeypatch.setattr(
            service.sources[paused], "rejoin", lambda: asked.append(clock.monotonic())
        )
        clock.paused_s = service.settings.session_timeout_s + 1
        await asyncio.sleep(5)
        assert paused.engine.in_flight_records == 0
        assert len(asked) == 1
        assert not service.results()

        rejoin()
        await service.until_done()
        await service.close()
        assert set(service.results().values()) == {1}
        assert set(service.model.started.values()) == {1}

    simulate(main())


def test_a_member_whose_heartbeats_go_unanswered_publishes_nothing_past_its_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        service = SimulatedService(partitions=1, model=CountingModel(window_records=64))
        cut_off = await service.join()
        source = service.sources[cut_off]
        session_s = service.settings.session_timeout_s
        heard_at_s: list[float] = [service.clock.monotonic()]
        asked: list[float] = []
        rejoin = source.rejoin

        def unheard_s() -> float | None:
            return service.clock.monotonic() - heard_at_s[0] if heard_at_s else None

        def join_again() -> None:
            heard_at_s.clear()
            asked.append(service.clock.monotonic())

        monkeypatch.setattr(source, "unheard_s", unheard_s)
        monkeypatch.setattr(source, "rejoin", join_again)
        service.publish(20, ms=1_000 * (session_s + 0.1))
        await asyncio.sleep(session_s - 1)
        assert not asked, "a session that has not run out is a session"

        await asyncio.sleep(20)
        assert len(asked) == 1
        assert cut_off.engine.in_flight_records == 0
        assert not service.results()

        rejoin()
        await service.until_done()
        await service.close()
        assert set(service.results().values()) == {1}

    simulate(main())


def test_a_member_that_stood_still_and_was_not_missed_goes_on_where_it_was() -> None:
    async def main() -> None:
        service = SimulatedService(partitions=1, model=CountingModel(window_records=64))
        clock = PausedClock()
        paused = await service.join(clock)
        service.publish(20, ms=1_000)
        await asyncio.sleep(0.5)
        clock.paused_s = service.settings.session_timeout_s + 1
        await service.until_done()
        paused.check()
        await service.close()

        assert set(service.results().values()) == {1}
        assert set(service.model.started.values()) == {1}, "nothing was computed twice"

    simulate(main())


async def publish(service: SimulatedService, size: int) -> None:
    service.publish(size, ms=size)


async def join(service: SimulatedService, _size: int) -> None:
    if len(service.members) < 4:
        await service.join()


async def leave(service: SimulatedService, size: int) -> None:
    if len(service.members) > 1:
        await service.leave(service.members[size % len(service.members)])


async def crash(service: SimulatedService, size: int) -> None:
    if service.members:
        await service.crash(service.members[size % len(service.members)])


async def expire(service: SimulatedService, size: int) -> None:
    if service.members:
        service.sources[service.members[size % len(service.members)]].expire()


async def kill_model(service: SimulatedService, _size: int) -> None:
    await service.model.kill()


async def hang_model(service: SimulatedService, _size: int) -> None:
    await service.model.hang()


async def fail(service: SimulatedService, size: int) -> None:
    """Have a worker fail; it is stopped when its health check has been heard."""
    if service.members:
        failed = service.members[size % len(service.members)]
        service.sources[failed].fail(SourceError("the broker refuses us"))
        await asyncio.sleep(size / 10)
        await service.leave(failed)


async def take_broker_away(service: SimulatedService, size: int) -> None:
    service.broker.go_away()
    await asyncio.sleep(size / 10)
    service.broker.come_back()


async def delete_some(service: SimulatedService, size: int) -> None:
    """Delete records that are answered already, as compaction may."""
    answered = service.results()
    for record in service.broker.records("requests"):
        if record.offset % 7 == size % 7 and (record.key or b"").decode() in answered:
            service.broker.log(record.partition).delete([record.offset])


async def skip_markers(service: SimulatedService, size: int) -> None:
    """Leave offsets out, as transaction markers do."""
    for partition in service.broker.partitions("requests"):
        service.broker.log(partition).skip(size % 3)


async def wait(_service: SimulatedService, _size: int) -> None:
    """Nothing but the time that passes before each action."""


ACTIONS = {
    "publish": publish,
    "join": join,
    "leave": leave,
    "wait": wait,
    "broker away": take_broker_away,
    "delete": delete_some,
    "markers": skip_markers,
    "crash": crash,
    "expire": expire,
    "kill model": kill_model,
    "hang model": hang_model,
    "fail": fail,
}
CLEAN = ["publish", "join", "leave", "wait", "broker away", "delete", "markers"]
UNCLEAN = [*CLEAN, "crash", "expire", "kill model", "hang model", "fail"]


async def run_schedule(actions: list[str], sizes: list[int]) -> SimulatedService:
    route = ROUTE.model_copy(update={"retry": RetrySettings(attempt_timeout_s=20.0)})
    service = SimulatedService(partitions=3, model=CountingModel(window_records=32), route=route)
    service.publish(60, ms=30)
    await service.join()
    for action, size in zip(actions, sizes, strict=True):
        await asyncio.sleep(size / 100)
        await ACTIONS[action](service, size)
        service.check_commits()
    if not service.members:
        await service.join()
    await service.until_done()
    await asyncio.sleep(5)
    service.check_commits()
    for partition in service.broker.partitions("requests"):
        log = service.broker.log(partition)
        if log.end_offset:
            assert service.group.committed[partition].offset == log.end_offset
    await service.close()
    return service


def schedules(actions: list[str]) -> st.SearchStrategy[list[tuple[str, int]]]:
    return st.lists(st.tuples(st.sampled_from(actions), st.integers(1, 60)), max_size=12)


@settings(max_examples=60)
@given(schedules(CLEAN))
def test_clean_changes_lose_nothing_and_double_nothing(schedule: list[tuple[str, int]]) -> None:
    service = simulate(run_schedule([a for a, _ in schedule], [s for _, s in schedule]))
    assert set(service.results()) == set(service.expected)
    assert set(service.results().values()) == {1}


@settings(max_examples=60)
@given(schedules(UNCLEAN))
def test_crashes_lose_nothing_and_commits_never_run_ahead(schedule: list[tuple[str, int]]) -> None:
    service = simulate(run_schedule([a for a, _ in schedule], [s for _, s in schedule]))
    assert set(service.results()) == set(service.expected)


def test_a_member_that_leaves_does_not_wait_for_a_long_linger(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gathered: list[tuple[MemorySink, Message]] = []
    send_now = MemorySink.send

    async def gather(sink: MemorySink, messages: Sequence[Message]) -> None:
        gathered.extend((sink, message) for message in messages)

    def flush(_sink: MemorySink) -> None:
        due = gathered[:]
        gathered.clear()
        for sink, message in due:
            asyncio.get_running_loop().create_task(send_now(sink, [message]))

    monkeypatch.setattr(MemorySink, "send", gather)
    monkeypatch.setattr(MemorySink, "flush", flush)

    async def main() -> None:
        service = SimulatedService()
        member = await service.join()
        service.publish(20, ms=100)
        await asyncio.sleep(0.3)
        await service.leave(member)

        assert len(service.results()) == sum(service.model.started.values()) > 0

    simulate(main())
