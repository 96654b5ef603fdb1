"""A thread with an event loop, in which a synchronous client's work is done."""

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from headrace_client.errors import ClosedError

T = TypeVar("T")

_CLOSING_S = 10.0


class LoopThread:
    """Runs coroutines for other threads; starts with the first one.

    ``closing`` is run on the loop before it ends: with ``close``, when this object is dropped, and
    when the interpreter ends. It must not refer to this object.
    """

    def __init__(self, closing: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._closing = closing
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._finalizer: Callable[[], object] | None = None
        self._is_closed = False

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the coroutine's result; if this thread is interrupted, it is cancelled."""
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._started())
        except BaseException:
            work.close()
            raise
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            finalizer, self._finalizer = self._finalizer, None
        if finalizer is not None and self._pid == os.getpid():
            finalizer()

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._pid != os.getpid():
            raise ClosedError("the client was made before a fork: make a new one in this process")
        with self._lock:
            if self._is_closed:
                raise ClosedError("the client is closed: make a new one")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                # A daemon, so that a client that nobody closed does not keep the interpreter; the
                # finalizer ends it before the interpreter does.
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="headrace-client", daemon=True
                )
                self._thread.start()
                self._finalizer = weakref.finalize(
                    self, _end, self._loop, self._thread, self._closing, self._pid
                )
            if threading.current_thread() is self._thread:
                raise ClosedError(
                    "a synchronous client cannot be called in its own thread: use AsyncHeadrace"
                )
            return self._loop


def _end(
    loop: asyncio.AbstractEventLoop,
    thread: threading.Thread,
    closing: Callable[[], Coroutine[Any, Any, None]],
    pid: int,
) -> None:
    if pid != os.getpid():
        return
    loop.call_soon_threadsafe(lambda: asyncio.ensure_future(_close(loop, closing)))
    if threading.current_thread() is not thread:
        thread.join(_CLOSING_S)
        if not thread.is_alive():
            loop.close()


async def _close(
    loop: asyncio.AbstractEventLoop, closing: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    try:
        await closing()
        tasks = [each for each in asyncio.all_tasks() if each is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await loop.shutdown_asyncgens()
        await loop.shutdown_default_executor()
    finally:
        loop.stop()
