"""Ends pytest when a test stands still, and says where: its name, its tasks and its threads.

A signal's exception would not do: the loop that it leaves waits for its tasks, and a fixture for
its thread. What a test waits for in asyncio is in no thread's stack.
"""

import asyncio
import gc
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest
import pytest_timeout  # type: ignore[import-untyped]


def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool:
    """Start the timer of one test, in place of pytest-timeout's own."""
    timer = threading.Timer(settings.timeout, _end, (item, settings))
    timer.name = f"timeout of {item.nodeid}"
    timer.daemon = True

    def cancel() -> None:
        timer.cancel()
        timer.join()

    item.cancel_timeout = cancel  # type: ignore[attr-defined]  # pytest-timeout calls it
    timer.start()
    return True


def _end(item: pytest.Item, settings: Any) -> None:
    capture = item.config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.suspend_global_capture(item)
    terminal = item.config.get_terminal_writer()
    terminal.line()
    terminal.line(f"{item.nodeid} has not ended after {settings.timeout:g} s")
    for task in _open_tasks():
        terminal.sep("~", title=f"Stack of {task.get_name()}")
        for frame in _frames(task.get_coro()):
            code = frame.f_code
            terminal.line(f'  File "{code.co_filename}", line {frame.f_lineno}, in {code.co_name}')
    pytest_timeout.timeout_timer(item, settings)


def _open_tasks() -> list["asyncio.Task[Any]"]:
    # asyncio lists the tasks of a loop only in the loop's thread.
    return [each for each in gc.get_objects() if isinstance(each, asyncio.Task) and not each.done()]


def _frames(awaited: Any) -> Iterator[FrameType]:
    """The frames of a coroutine and of what it awaits, the outermost first."""
    while awaited is not None:
        kind = next(
            (each for each in ("cr", "ag", "gi") if hasattr(awaited, f"{each}_frame")), None
        )
        if kind is None:
            return
        frame = getattr(awaited, f"{kind}_frame")
        if frame is not None:
            yield frame
        awaited = getattr(awaited, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
