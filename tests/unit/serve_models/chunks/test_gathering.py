"""One call carries what the others of its consumer have gathered."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from handoff.chunk import Chunk, Outcomes
from serve_models.chunks.call import Call
from serve_models.chunks.gathering import Gathering

AN_HOUR_S = 3600.0


class Consumer:
    """Reads the streams of its calls, and notes how each record's outcome came."""

    def __init__(self, linger_s: float = 1e-6) -> None:
        self.gathering = Gathering()
        self.items: list[tuple[int, Outcomes]] = []
        self.answered: dict[int, list[int]] = {}
        self.elsewhere: dict[int, int] = {}
        self.linger_s = linger_s

    def call(self, number: int, records: int) -> tuple[Call, asyncio.Task[None]]:
        call = Call(Chunk("c", [b"{}"] * records, call=number), self.linger_s, self.gathering)
        self.answered[number] = []
        self.elsewhere[number] = 0
        return call, asyncio.ensure_future(self._read(call))

    async def _read(self, call: Call) -> None:
        stream: AsyncIterator[Outcomes] = call.stream("replica", lambda: 8)
        try:
            async for item in stream:
                self.items.append((call.number, item))
                self.answered[call.number] += item.indexes
                self.elsewhere[call.number] += item.elsewhere
                for number, carried in item.others.items():
                    assert carried.replica == "replica"
                    self.answered[number] += carried.indexes
                    self.elsewhere[number] -= len(carried.indexes)
        finally:
            call.close()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def until_read(consumer: Consumer, number: int, records: int) -> None:
    async with asyncio.timeout(120):
        while len(consumer.answered[number]) < records:
            await asyncio.sleep(0)


async def test_the_oldest_call_carries_what_the_others_have() -> None:
    consumer = Consumer()
    calls = [consumer.call(number, 2)[0] for number in (1, 2, 3)]
    for call in calls:
        call.answer(1, 200, b"")
    await until_read(consumer, 3, 1)
    ((carrier, item),) = consumer.items
    assert carrier == 1
    assert item.indexes == [1]
    assert {number: each.indexes for number, each in item.others.items()} == {2: [1], 3: [1]}
    for call in calls:
        call.answer(0, 200, b"")
    await settle()
    assert consumer.answered == {1: [1, 0], 2: [1, 0], 3: [1, 0]}
    assert set(consumer.elsewhere.values()) == {0}
    assert not consumer.gathering


async def test_a_call_that_is_complete_waits_for_nobody_and_takes_others_along() -> None:
    consumer = Consumer(AN_HOUR_S)
    (open_call, _), (complete, task) = consumer.call(1, 2), consumer.call(2, 1)
    open_call.answer(0, 200, b"")
    complete.answer(0, 200, b"")
    async with asyncio.timeout(120):
        await task
    assert [(number, item.indexes) for number, item in consumer.items] == [(2, [0])]
    assert consumer.answered == {1: [0], 2: [0]}
    open_call.end()


async def test_the_end_says_how_much_came_in_other_streams() -> None:
    consumer = Consumer()
    consumer.call(1, 1)
    second, task = consumer.call(2, 3)
    second.answer(0, 200, b"")
    second.answer(2, 200, b"")
    await until_read(consumer, 2, 2)
    assert consumer.items[0][0] == 1
    second.answer(1, 200, b"")
    async with asyncio.timeout(120):
        await task
    number, last = consumer.items[-1]
    assert (number, last.indexes, last.elsewhere) == (2, [1], 2)


async def test_a_call_that_ends_early_says_so_too() -> None:
    consumer = Consumer()
    consumer.call(1, 1)
    second, task = consumer.call(2, 2)
    second.answer(0, 200, b"")
    await until_read(consumer, 2, 1)
    second.end(RuntimeError("lost"))
    async with asyncio.timeout(120):
        await task
    assert consumer.items[-1][1].elsewhere == 1


async def test_a_carrier_that_is_closed_leaves_it_to_the_next() -> None:
    consumer = Consumer(AN_HOUR_S)
    (_, closed), (second, _), (third, _) = (consumer.call(number, 2) for number in (1, 2, 3))
    await settle()
    third.answer(0, 200, b"")
    closed.cancel()
    await until_read(consumer, 3, 1)
    assert consumer.items[0][0] == 2
    second.end()


async def test_a_call_without_company_carries_its_own() -> None:
    consumer = Consumer()
    call, task = consumer.call(1, 2)
    call.answer(0, 200, b"")
    await until_read(consumer, 1, 1)
    call.answer(1, 200, b"")
    async with asyncio.timeout(120):
        await task
    assert [(item.indexes, item.elsewhere) for _, item in consumer.items] == [([0], 0), ([1], 0)]


@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=6),
    data=st.data(),
)
def test_each_outcome_comes_once_whoever_carries_it(sizes: list[int], data: st.DataObject) -> None:
    async def run() -> None:
        consumer = Consumer(data.draw(st.sampled_from([0.0, 1e-6, AN_HOUR_S])))
        calls = {n: consumer.call(n, size) for n, size in enumerate(sizes, start=1)}
        await settle()
        left = [(n, index) for n, size in enumerate(sizes, start=1) for index in range(size)]
        closed: set[int] = set()
        while left:
            number, index = left.pop(data.draw(st.integers(0, len(left) - 1)))
            if number not in closed:
                calls[number][0].answer(index, 200, b"")
            match data.draw(st.sampled_from(["go on", "go on", "settle", "close"])):
                case "settle":
                    await settle()
                case "close" if len(closed) < len(sizes) - 1:
                    # Nobody reads its stream any more; what it was about to carry comes anyway.
                    closed.add(number)
                    calls[number][1].cancel()
        async with asyncio.timeout(120):
            for _, task in calls.values():
                with suppress(asyncio.CancelledError):
                    await task
        for number, size in enumerate(sizes, start=1):
            assert len(set(consumer.answered[number])) == len(consumer.answered[number])
            if number not in closed:
                assert sorted(consumer.answered[number]) == list(range(size))
                assert consumer.elsewhere[number] == 0
        assert not consumer.gathering

    asyncio.run(run())


async def test_an_answer_that_comes_after_the_end_of_its_call_reaches_nobody() -> None:
    gathering = Gathering()
    ended, other = (
        Call(Chunk("c", [b"{}"] * 2, call=number), AN_HOUR_S, gathering) for number in (1, 2)
    )
    ended.close()
    # A batch may run on when its call is closed.
    ended.answer(0, 200, b"{}")
    ended.answer(1, 200, b"{}")
    ended.fail_unanswered(RuntimeError("too late"))
    assert gathering.take(other)[1] == []
    other.close()
    assert not gathering
