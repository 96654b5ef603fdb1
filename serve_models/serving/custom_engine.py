"""A user's own model, kept to what the other engines promise of a sick replica."""

import inspect
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from handoff.chunk import STATUS_FAILED, STATUS_UNAVAILABLE, Chunk, ChunkModel, Outcomes
from handoff.clock import Clock
from serve_models.serving.call import ENDS_THE_TASK
from serve_models.serving.engine_end import EngineEnd
from serve_models.serving.watchdog import Patience, SilenceWatch

_PATIENCE = Patience(least_s=600.0, first_s=3600.0)
"""A class may be at work on one record for long, and says nothing of it meanwhile."""


class CustomModelSickError(RuntimeError):
    """The class fails and says that it is unwell; its records can go to another replica."""


class CustomEngine:
    """Streams what the class gives, and asks it how it is where it gives nothing but failures.

    Args:
        model: The user's.
        clock: Tells for how long the class has given nothing.
        on_death: As ``serve_models.serving.engine_end.EngineEnd`` calls it.
    """

    def __init__(
        self,
        model: ChunkModel,
        *,
        clock: Clock,
        on_death: Callable[[], None] | None = None,
    ) -> None:
        self._model = model
        self._clock = clock
        self._watch = SilenceWatch(_PATIENCE)
        self._end = EngineEnd(on_death)

    async def infer(self, chunk: Chunk) -> AsyncGenerator[Outcomes, None]:
        """Stream the outcomes of a chunk's records, as the class gives them.

        Raises:
            CustomModelSickError: The class failed and its ``check_health`` raises: the records
                are lost with the replica.
        """
        if self._end.cause is not None:
            await self._raise_sick(self._end.cause)
        stream: Any = self._model.infer(chunk)
        self._watch.opened(self._clock.monotonic())
        try:
            # Closed with this generator, not some time later: a consumer that went away frees it.
            async with aclosing(stream):
                while (outcomes := await self._next(stream)) is not None:
                    now_s = self._clock.monotonic()
                    if outcomes.indexes:
                        self._watch.heard(now_s)
                    else:
                        self._watch.alive(now_s)
                    yield outcomes
        finally:
            self._watch.closed()

    async def check_health(self) -> None:
        """Ask the class, where it can tell.

        Raises:
            CustomModelSickError: The replica is about to end.
        """
        silent_s = self._watch.silent_s(self._clock.monotonic())
        if silent_s is not None:
            self._end.die(TimeoutError(f"infer has given no outcome for {silent_s:.0f} s"))
        if self._end.cause is not None:
            raise CustomModelSickError(str(self._end.cause)) from self._end.cause
        check = getattr(self._model, "check_health", None)
        if check is not None:
            answer = check()
            if inspect.isawaitable(answer):
                await answer

    async def _next(self, stream: Any) -> Outcomes | None:
        try:
            outcomes: Outcomes = await anext(stream)
        except StopAsyncIteration:
            return None
        except ENDS_THE_TASK:
            raise
        except BaseException:
            await self._leave_if_sick()
            raise
        if _has_only_failures(outcomes):
            await self._leave_if_sick()
        return outcomes

    async def _leave_if_sick(self) -> None:
        try:
            await self.check_health()
        except ENDS_THE_TASK:
            raise
        except BaseException as error:  # noqa: BLE001 -- whatever it is, the class says that it is unwell
            self._end.die(error)
            await self._raise_sick(error)

    async def _raise_sick(self, cause: BaseException) -> None:
        await self._end.calls_may_end()
        raise CustomModelSickError(f"the model is unwell: {cause}") from cause


def _has_only_failures(outcomes: Outcomes) -> bool:
    """Whether the model failed on each record; having no room is no failure."""
    return bool(outcomes.statuses) and all(
        status >= STATUS_FAILED and status != STATUS_UNAVAILABLE for status in outcomes.statuses
    )
