"""Runs a user's class behind the chunk server: streams what ``infer`` yields."""

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import Any

from handoff.chunk import STATUS_FAILED, STATUS_UNAVAILABLE, ChunkModel, Outcomes
from serve_models.chunks.call import Call
from serve_models.chunks.chunk_server import ChunkServer, Host, ReplicaLostError
from serve_models.chunks.failures import ENDS_THE_TASK
from serve_models.chunks.watchdog import Patience, SilenceWatch

PATIENCE = Patience(least_s=600.0, first_s=3600.0)
"""A class may work on one record for a long time without any report."""


class CustomEngine(ChunkServer):
    """Streams what the class yields, and checks its health when it yields only failures.

    The class reports its own windows. If ``infer`` raises, so does the stream, after the outcomes.
    """

    # What one call yields may break the promise of ``Outcomes``, and is that call's fault only.
    gathers_by_consumer = False

    def __init__(self, model: ChunkModel, host: Host) -> None:
        super().__init__(host, window=None, outcome_linger_ms=0.0)
        self._model = model
        self._watch = SilenceWatch(PATIENCE)
        self._windows: dict[Call, int] = {}

    def _begin(self, call: Call) -> None:
        self._windows[call] = 0
        self._start(partial(self._read, call), call)

    async def _finish(self, call: Call) -> None:
        # What the class does after its last outcome is part of the call.
        await asyncio.wait(call.tasks)

    def _let_go(self, call: Call, _index: int) -> None:
        # A class cannot be told of one record, and goes on for the others.
        if call.is_complete:
            for task in call.tasks:
                task.cancel()

    def _release(self, call: Call) -> None:
        del self._windows[call]

    def _window_records(self, call: Call) -> int:
        return self._windows[call]

    def _check_alive(self) -> None:
        silent_s = self._watch.silent_s(self._clock.monotonic())
        if silent_s is not None:
            raise ReplicaLostError(f"infer has given no outcome for {silent_s:.0f} s")

    # One task runs the call from end to end; a class may rely on that.
    async def _read(self, call: Call) -> None:
        self._watch.opened(self._clock.monotonic())
        try:
            stream: Any = self._model.infer(call.chunk)
            async with aclosing(stream):
                await self._read_outcomes(call, stream)
            call.end()
        except ENDS_THE_TASK as error:
            task = asyncio.current_task()
            if task is None or task.cancelling() or not isinstance(error, asyncio.CancelledError):
                raise
            call.end(RuntimeError("infer was cancelled from within"))
        except BaseException as error:  # noqa: BLE001 -- the consumer learns it from the call
            if not await self._leave_if_unwell():
                call.end(error)
        finally:
            self._watch.closed()

    async def _read_outcomes(self, call: Call, stream: AsyncIterator[Outcomes]) -> None:
        async for outcomes in stream:
            now_s = self._clock.monotonic()
            if outcomes.indexes:
                self._watch.heard(now_s)
            else:
                self._watch.alive(now_s)
            if _has_only_failures(outcomes) and await self._leave_if_unwell():
                return
            self._windows[call] = outcomes.window_records or self._windows[call]
            call.answer_all(outcomes)

    async def _leave_if_unwell(self) -> bool:
        try:
            await ask_health(self._model)
        except ENDS_THE_TASK:
            raise
        except BaseException as error:  # noqa: BLE001 -- whatever it is, the class reports that it is unwell
            self._die(ReplicaLostError(f"the model is unwell: {error}"))
            return True
        return False


async def ask_health(model: object) -> None:
    """Call a class's own ``check_health``, plain or async, if it has one."""
    check = getattr(model, "check_health", None)
    if check is not None:
        answer = check()
        if inspect.isawaitable(answer):
            await answer


def _has_only_failures(outcomes: Outcomes) -> bool:
    """Whether the model failed on each record; having no room is no failure."""
    return bool(outcomes.statuses) and all(
        status >= STATUS_FAILED and status != STATUS_UNAVAILABLE for status in outcomes.statuses
    )
