"""A model behind a Ray Serve deployment handle. Imports no Ray: the handle is given."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from handoff.chunk import STATUS_UNAVAILABLE, Chunk, Outcomes
from handoff.clock import Clock, SystemClock

LOOK_AGAIN_S = 1.0
CANCEL_PATIENCE_S = 5.0
"""A replica answers at once, or it hangs, and is not waited for."""
PATIENCE_S = 10.0
"""A busy model accepts a call sooner."""


class _NeverError(Exception):
    pass


class ModelHandle:
    """Calls the replicas of a model's deployment (``handoff.chunk.CancellableModel``).

    Args:
        handle: The deployment's handle.
        acceptance_s: A call that no replica accepts in this time is made anew: Serve's router keeps
            old calls to a deleted model for ever, but refuses new ones. ``None`` waits for ever.
        unavailable: What a new call raises while Serve has given the model up, or deleted it.
        turns_away: Whether all records of such a call are then answered ``STATUS_UNAVAILABLE``;
            otherwise the call waits until the model is back.
        clock: Time; the machine's if unset.
    """

    def __init__(
        self,
        handle: Any,
        acceptance_s: float | None = None,
        *,
        unavailable: type[Exception] = _NeverError,
        turns_away: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self._infer = handle.options(stream=True, method_name="infer")
        self._acceptance_s = acceptance_s
        self._unavailable = unavailable
        self._turns_away = turns_away
        self._clock = clock or SystemClock()
        self._waiting_calls = 0
        self._accepted_at_s = 0.0

    @property
    def is_waiting(self) -> bool:
        """Whether calls wait, and no replica has accepted one lately."""
        waited_s = self._clock.monotonic() - self._accepted_at_s
        return self._waiting_calls > 0 and waited_s >= PATIENCE_S

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        """Stream a chunk's outcomes, after an empty item once a replica has accepted the call."""
        try:
            stream = await self._accepted(chunk)
        except self._unavailable:
            refused = Outcomes(replica="", window_records=len(chunk.lines))
            for index in range(len(chunk.lines)):
                refused.add(index, STATUS_UNAVAILABLE, b"")
            yield refused
            return
        del chunk  # as large as all its records, of which one may take hours
        try:
            yield Outcomes(replica="", window_records=0)
            async for outcomes in stream:
                yield outcomes
                del outcomes
        except (GeneratorExit, asyncio.CancelledError):
            # Nobody waits for the rest: free what the replica still computes of it.
            stream.cancel()
            raise

    async def cancel(self, consumer: str, records: Mapping[int, Sequence[int]]) -> None:
        """Tell all replicas: only they know which of them has a call. What fails is not raised."""
        # A replica that is gone has let go of everything, and the others answer.
        with contextlib.suppress(Exception):
            told = self._infer.broadcast("cancel", consumer, records)
            await told.results_async(timeout_s=CANCEL_PATIENCE_S, return_exceptions=True)

    async def _accepted(self, chunk: Chunk) -> Any:
        if not self._waiting_calls:
            self._accepted_at_s = self._clock.monotonic()
        self._waiting_calls += 1
        try:
            while True:
                stream = self._infer.remote(chunk)
                try:
                    async with asyncio.timeout(self._acceptance_s):
                        await stream._to_object_ref_gen()  # noqa: SLF001 - Serve's developer API, so named
                except TimeoutError:
                    stream.cancel()
                except self._unavailable:
                    if self._turns_away:
                        raise
                    await asyncio.sleep(LOOK_AGAIN_S)
                except asyncio.CancelledError:
                    stream.cancel()
                    raise
                else:
                    self._accepted_at_s = self._clock.monotonic()
                    return stream
        finally:
            self._waiting_calls -= 1
