"""A synchronous client's thread ends with it, however it ends."""

import asyncio
import gc
import subprocess
import sys
import threading

import pytest

from headrace_client import ClosedError
from headrace_client.calls.loop_thread import LoopThread


async def nothing() -> None: ...


async def answer() -> int:
    await asyncio.sleep(0)
    return 42


def threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name == "headrace-client"]


def test_work_is_done_in_the_thread() -> None:
    thread = LoopThread(nothing)
    assert threads() == []

    assert thread.run(answer()) == 42
    assert threads() == ["headrace-client"]
    thread.close()
    thread.close()

    assert threads() == []
    with pytest.raises(ClosedError, match="make a new one"):
        thread.run(answer())


def test_closing_runs_in_the_loop() -> None:
    closed: list[bool] = []

    async def close() -> None:
        closed.append(asyncio.get_running_loop().is_running())

    thread = LoopThread(close)
    thread.run(answer())
    thread.close()

    assert closed == [True]


def test_one_that_is_dropped_ends() -> None:
    thread = LoopThread(nothing)
    thread.run(answer())
    del thread
    gc.collect()

    assert threads() == []


def test_an_error_is_raised_where_it_is_waited_for() -> None:
    async def fail() -> None:
        raise ValueError("no")

    thread = LoopThread(nothing)
    with pytest.raises(ValueError, match="no"):
        thread.run(fail())
    thread.close()


def test_it_cannot_wait_for_itself() -> None:
    thread = LoopThread(nothing)

    async def inside() -> int:
        return thread.run(answer())

    with pytest.raises(ClosedError, match="use AsyncHeadrace"):
        thread.run(inside())
    thread.close()


def test_an_interpreter_ends_with_one_that_nobody_closed() -> None:
    code = (
        "from headrace_client.calls.loop_thread import LoopThread\n"
        "async def close(): print('closed')\n"
        "async def work(): return 1\n"
        "thread = LoopThread(close)\n"
        "thread.run(work())\n"
    )
    ran = subprocess.run(
        [sys.executable, "-X", "dev", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert (ran.stdout, ran.stderr) == ("closed\n", "")
