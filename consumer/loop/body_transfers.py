"""Deposits bodies in an object store and fetches them from there, beside everything else."""

import asyncio
import logging
from collections.abc import Callable

from consumer.engine.bodies.bodies import Bodies
from consumer.engine.bodies.moves import (
    Deposit,
    Deposited,
    Fetched,
    Move,
    MoveEnd,
    MoveFailed,
)
from consumer.engine.bodies.store import BodyRefusedError, BodyStore, StoreError
from handoff.clock import Clock

log = logging.getLogger(__name__)


class BodyTransfers:
    """Runs the moves that an engine asks for; ``note_end`` gets each task that is over."""

    def __init__(
        self,
        *,
        bodies: Bodies,
        store: BodyStore,
        clock: Clock,
        note_end: Callable[[asyncio.Task[None]], None],
    ) -> None:
        self._bodies = bodies
        self._store = store
        self._clock = clock
        self._note_end = note_end
        self._tasks: set[asyncio.Task[None]] = set()

    def start_moves(self) -> None:
        """Start the moves that may start now."""
        while (move := self._bodies.moves.next_move(self._clock.monotonic())) is not None:
            task = asyncio.get_running_loop().create_task(self._run(move))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(self._note_end)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._store.close()

    async def _run(self, move: Move) -> None:
        end: MoveEnd | None = MoveFailed("the move was cancelled")
        try:
            if move.is_wanted:
                end = await self._move(move)
        except BodyRefusedError as error:
            end = error.refused
        except StoreError as error:
            log.warning("%s; attempt %d on this body", error, move.attempts + 1)
            end = MoveFailed(str(error))
        finally:
            if end is not None:
                now_s, epoch_ms = self._clock.monotonic(), self._clock.epoch_ms()
                self._bodies.end_move(move, end, now_s, epoch_ms)

    async def _move(self, move: Move) -> MoveEnd | None:
        """Move a body; ``None`` where it has no room, now that its size is known."""
        if isinstance(move, Deposit):
            return Deposited(await self._store.write(move.name, move.body))
        if move.size_bytes is None:
            size_bytes = await self._store.size_bytes(move.reference.url)
            if not self._bodies.measured(move, size_bytes, self._clock.monotonic()):
                return None
        return Fetched(await self._store.read(move.reference))
