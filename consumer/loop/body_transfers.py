"""Moves large bodies between the engine and an object store, beside everything else."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from consumer.engine.bodies.claims import (
    BodyRefusedError,
    BodyStore,
    Deposit,
    Deposited,
    Fetched,
    Measured,
    Move,
    MoveEnd,
    MoveFailed,
    StoreError,
)
from consumer.engine.bodies.moves import BodyMoves
from handoff.clock import Clock

log = logging.getLogger(__name__)


class BodyTransfers:
    """Runs the moves that an engine asks for.

    Args:
        moves: The engine's; says what moves next.
        store: Where bodies lie.
        clock: The time.
        end_move: Called with each move and how it ended.
    """

    def __init__(
        self,
        *,
        moves: BodyMoves,
        store: BodyStore,
        clock: Clock,
        end_move: Callable[[Move, MoveEnd], Awaitable[None]],
    ) -> None:
        self._moves = moves
        self._store = store
        self._clock = clock
        self._end_move = end_move
        self._wanted = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None

    def wake(self) -> None:
        """Look for moves that may start now."""
        if len(self._moves):
            self._wanted.set()

    async def run(self) -> None:
        """Run moves for ever."""
        try:
            while True:
                self._wanted.clear()
                now_s = self._clock.monotonic()
                while (move := self._moves.next_move(now_s)) is not None:
                    task = asyncio.get_running_loop().create_task(self._run_move(move))
                    self._tasks.add(task)
                    task.add_done_callback(self._note_end)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._moves.next_due_in_s(now_s)):
                        await self._wanted.wait()
                if self._failure is not None:
                    raise self._failure
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._store.close()

    async def _run_move(self, move: Move) -> None:
        end: MoveEnd = MoveFailed("the move was cancelled")
        try:
            if move.is_wanted:
                end = await self._move(move)
        except BodyRefusedError as error:
            end = error.refused
        except StoreError as error:
            log.warning("%s; attempt %d on this body", error, move.attempts + 1)
            end = MoveFailed(str(error))
        finally:
            await self._end_move(move, end)

    async def _move(self, move: Move) -> MoveEnd:
        if isinstance(move, Deposit):
            return Deposited(await self._store.write(move.name, move.body))
        if move.size_bytes is None:
            return Measured(await self._store.size_bytes(move.reference.url))
        return Fetched(await self._store.read(move.reference))

    def _note_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()
        self._wanted.set()
