"""A consumer that is out of its group while its route is paused.

A loop that has left the group does not come back: going on, a new one takes its place, which starts
from what the group has committed. So whoever moves offsets during a pause finds an empty group, and
the consumer finds what they wrote.
"""

import asyncio
import logging
from collections.abc import Callable

from consumer.engine.engine import Engine
from consumer.engine.pausing import Pause, Turn, next_turn
from consumer.loop.consumer_loop import ConsumerLoop

log = logging.getLogger(__name__)


class PausableLoop:
    """Runs one consumer loop after the other, as pauses come and go.

    ``make`` makes a loop that has not started; it gets the engine of the one before, whose counts
    go on. ``joined`` is called whenever a loop has joined: what the one before held is garbage.

    Attributes:
        loop: The loop that runs, or that has left; before the first start, one that never ran.
        pause: The pause that is known, if any.
    """

    def __init__(
        self,
        make: Callable[[Engine | None], ConsumerLoop],
        joined: Callable[[], object] = lambda: None,
    ) -> None:
        self._make = make
        self._joined = joined
        self.loop = make(None)
        self.pause: Pause | None = None
        self._failure: BaseException | None = None
        self._has_run = False
        self._is_member = False
        self._is_ending = False
        self._changed = asyncio.Event()
        self._following: asyncio.Task[None] | None = None

    @property
    def is_out(self) -> bool:
        """Whether the pause holds: this consumer has left the group, or never joined it."""
        return not self._is_member

    async def start(self, pause: Pause | None) -> None:
        """Join the group unless the route is paused; ``SourceError`` if the broker refuses us."""
        self.pause = pause
        if pause is None:
            await self._join()
        else:
            log.info(
                "the route is paused (%s): this consumer stays out",
                pause.reason or "-",
                extra={"event": "route_paused"},
            )
        self._following = asyncio.get_running_loop().create_task(self._follow())

    def follow(self, pause: Pause | None) -> None:
        """Leave the group for a pause, or join it again after one."""
        if pause != self.pause:
            self.pause = pause
            self._changed.set()

    def check(self) -> None:
        """Raise ``RuntimeError`` if the consumer has failed; the replica is to be replaced."""
        self.loop.check()
        if self._failure is not None:
            raise RuntimeError(f"the consumer does not come back: {self._failure!r}")

    @property
    def failure(self) -> BaseException | None:
        return self.loop.failure or self._failure

    async def drain(self) -> None:
        """Finish what is in flight, commit and leave the group, for good."""
        self._is_ending = True
        self._changed.set()
        if self._following is None:
            return
        if not self._is_member:
            # It may be about to join, and the broker may never answer.
            self._following.cancel()
        await asyncio.wait([self._following])
        if self._is_member:
            await self._leave()

    async def _follow(self) -> None:
        try:
            while (turn := self._turn()) is not Turn.END:
                self._changed.clear()
                if turn is Turn.LEAVE:
                    await self._leave()
                elif turn is Turn.JOIN:
                    await self._join()
                else:
                    await self._changed.wait()
        except Exception as error:  # whatever it is, a new replica may do better
            self._failure = error
            log.exception(
                "the consumer cannot follow its pauses", extra={"event": "consumer_failed"}
            )

    def _turn(self) -> Turn:
        return next_turn(
            is_member=self._is_member,
            is_paused=self.pause is not None,
            is_ending=self._is_ending,
        )

    async def _join(self) -> None:
        if self._has_run:
            self.loop = self._make(self.loop.engine)
        self._has_run = True
        await self.loop.start()
        self._is_member = True
        self._joined()

    async def _leave(self) -> None:
        if not self._is_ending:
            log.info(
                "the route is paused: finishing what is in flight, then leaving the group",
                extra={"event": "route_paused"},
            )
        await self.loop.drain()
        self._is_member = False
