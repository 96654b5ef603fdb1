"""Deposits and fetches bodies beside everything else."""

import asyncio
import logging
from collections.abc import Callable

from consumer.engine.bodies.bodies import Bodies
from consumer.engine.bodies.moves import Deposit, Move
from consumer.engine.bodies.store import BodyRefusedError, BodyStore, StoreError
from handoff.clock import Clock

log = logging.getLogger(__name__)


class BodyTransfers:
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
        reason = "the move was cancelled"
        try:
            if move.is_wanted:
                await self._move(move)
                return
        except asyncio.CancelledError:
            pass
        except BodyRefusedError as error:
            self._bodies.refused(move, error.refused, self._clock.monotonic())
            return
        except StoreError as error:
            log.warning(
                "%s; attempt %d on this body",
                error,
                move.attempts + 1,
                extra={
                    "event": "body_not_moved",
                    "attempts": move.attempts + 1,
                    "error_class": type(error).__name__,
                },
            )
            reason = str(error)
        self._bodies.failed(move, reason, self._clock.monotonic(), self._clock.epoch_ms())

    async def _move(self, move: Move) -> None:
        if isinstance(move, Deposit):
            reference = await self._store.write(move.name, move.body)
            self._bodies.deposited(move, reference, self._clock.monotonic())
            return
        if move.size_bytes is None:
            size_bytes = await self._store.size_bytes(move.reference.url)
            if not self._bodies.measured(move, size_bytes, self._clock.monotonic()):
                return
        body = await self._store.read(move.reference)
        self._bodies.fetched(move, body, self._clock.monotonic())
