"""In flight is bounded; who waits first goes first, and who gives up takes no room."""

import asyncio

import pytest

from headrace_client import SettingsError
from headrace_client.calls.window import Gate


async def settle() -> None:
    for _turn in range(5):
        await asyncio.sleep(0)


async def test_more_than_the_limit_waits_in_order() -> None:
    gate = Gate(2, "limit")
    went: list[int] = []

    async def go(number: int) -> None:
        await gate.acquire()
        went.append(number)

    tasks = [asyncio.create_task(go(number)) for number in range(5)]
    await settle()
    assert went == [0, 1]

    gate.release()
    await settle()
    assert went == [0, 1, 2]

    gate.release()
    gate.release()
    await settle()
    assert went == [0, 1, 2, 3, 4]
    assert gate.used == 2
    await asyncio.gather(*tasks)


async def test_a_large_amount_goes_alone_and_is_not_overtaken() -> None:
    gate = Gate(10, "limit")
    await gate.acquire(4)
    large = asyncio.create_task(gate.acquire(100))
    small = asyncio.create_task(gate.acquire(1))
    await settle()
    assert not large.done()
    assert not small.done()

    gate.release(4)
    await settle()
    assert large.done()
    assert not small.done()

    gate.release(100)
    await settle()
    assert small.done()
    assert gate.used == 1


async def test_one_that_gives_up_takes_no_room() -> None:
    gate = Gate(1, "limit")
    await gate.acquire()
    first, second = (asyncio.create_task(gate.acquire()) for _ in range(2))
    await settle()

    first.cancel()
    gate.release()
    await settle()
    assert first.cancelled()
    assert second.done()
    assert gate.used == 1


async def test_one_that_is_cancelled_when_it_was_let_in_gives_its_room_back() -> None:
    gate = Gate(1, "limit")
    await gate.acquire()
    waiting = asyncio.create_task(gate.acquire())
    await settle()

    gate.release()
    waiting.cancel()
    await settle()
    assert waiting.cancelled()
    assert gate.used == 0


def test_a_limit_below_one_is_named() -> None:
    with pytest.raises(SettingsError, match="max_in_flight_requests: must be at least 1"):
        Gate(0, "max_in_flight_requests")
