"""Asks Ray in a thread for which nobody has to wait.

A call to Ray may never return once the node that this process joined has ended. Neither a report
nor the end of the process may wait for it.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Generic, TypeVar

from headrace.errors import ServiceError

T = TypeVar("T")

PATIENCE_S = 15.0
"""Longer than a status board takes that has just moved to another node."""


def _asked(ask: Callable[[], T]) -> Future[T]:
    """Ask in a daemon thread: the process may end before there is an answer."""
    question: Future[T] = Future()

    def run() -> None:
        try:
            question.set_result(ask())
        except BaseException as error:  # noqa: BLE001 - raised where the answer is taken
            question.set_exception(error)

    threading.Thread(target=run, name="ask-ray", daemon=True).start()
    return question


class Asking(Generic[T]):
    """One question at a time: ``ask`` is called again once it has returned."""

    def __init__(self, ask: Callable[[], T], patience_s: float = PATIENCE_S) -> None:
        self._ask = ask
        self._patience_s = patience_s
        self._open: Future[T] | None = None

    @property
    def is_silent(self) -> bool:
        """Whether the last question is still without an answer."""
        return self._open is not None

    async def answer(self) -> T:
        """Return an answer, or raise what ``ask`` raised.

        Raises ``ServiceError`` if there is none in time; later calls then wait no longer for it.
        """
        patience_s = 0.0 if self._open is not None else self._patience_s
        question = self._open = self._open or _asked(self._ask)
        await asyncio.to_thread(wait, [question], patience_s)
        if not question.done():
            raise ServiceError(
                "Ray does not answer: its head is away, or the node that this command joined has "
                "ended. The service goes on where it runs. If this stays, end this command by "
                "Ctrl-C, which then stops nothing, and run it again"
            )
        self._open = None
        return question.result()
