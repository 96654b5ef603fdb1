"""One handle call: each record is answered once, and outcomes stream back in lists."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Iterable

from handoff.chunk import STATUS_FAILED, STATUS_UNAVAILABLE, Chunk, Outcomes
from serve_models.serving.failures import encode_failure_body

NAMED_AFTER_S = 1.0
"""After so long a silence a call names the replica that has it: the caller counts records in flight
by replica, and must not take a replica with a long record for one that is gone. Not at once: an
item more would slow down short calls."""


class Call:
    """A chunk under way in this replica.

    Outcomes are yielded in lists, because each item of a streaming call costs Ray Serve about
    0.4 ms. One event loop owns the call.

    Args:
        chunk: The records.
        linger_s: How long outcomes gather, counted from the first; no longer once all are there.

    Attributes:
        chunk: As given.
        tasks: Work for this call alone; the server cancels it when the call ends.
        named_after_s: The longest silence at the start, after which ``stream`` yields an empty
            item; ``None`` for no limit.
        loss: Why the call ended with records unanswered, if it did.
    """

    named_after_s: float | None = NAMED_AFTER_S

    def __init__(self, chunk: Chunk, linger_s: float) -> None:
        self.chunk = chunk
        self.tasks: list[asyncio.Task[None]] = []
        self.loss: BaseException | None = None
        self._linger_s = linger_s
        self._unanswered = set(range(len(chunk.lines)))
        self._gathered = Outcomes("", 0)
        self._has_some = asyncio.Event()
        self._has_all = asyncio.Event()

    def waits_for(self, index: int) -> bool:
        return index in self._unanswered

    def answer(self, index: int, status: int, body: bytes, tokens: int | None = None) -> None:
        """Give record ``index`` its outcome; the first one counts.

        Args:
            index: Its position in the chunk.
            status: HTTP status.
            body: The response's body as UTF-8 JSON.
            tokens: Tokens that it took, if they were counted.
        """
        if index not in self._unanswered:
            return
        self._unanswered.remove(index)
        self._gathered.add(index, status, body, tokens)
        self._has_some.set()
        if not self._unanswered:
            self._has_all.set()

    def answer_all(self, outcomes: Outcomes) -> None:
        """Give several records their outcomes; without any, ``stream`` still yields an item."""
        answers = zip(outcomes.indexes, outcomes.statuses, outcomes.bodies, strict=True)
        for index, status, body in answers:
            self.answer(index, status, body)
        self._gathered.measured_records += outcomes.measured_records
        self._gathered.measured_tokens += outcomes.measured_tokens
        self.wake()

    def fail_unanswered(self, error: BaseException) -> None:
        """Answer the other records: the model failed, another replica may not."""
        for index in sorted(self._unanswered):
            self.answer(index, STATUS_FAILED, encode_failure_body(error))

    def turn_away(self, but: Collection[int]) -> None:
        """Send the other records elsewhere, without a failed attempt, except those at ``but``."""
        for index in sorted(self._unanswered.difference(but)):
            self.answer(index, STATUS_UNAVAILABLE, b"")

    def end(self, loss: BaseException | None = None) -> None:
        """Let ``stream`` yield what is there and end; unanswered records stay unanswered.

        Args:
            loss: For a loss that says nothing of the records. The server raises it at the end of
                the stream, so that the caller sees a lost call and not failed records.
        """
        if self._unanswered:
            self.loss = loss
            self._unanswered.clear()
            self._has_some.set()
            self._has_all.set()

    def wake(self) -> None:
        """Let ``stream`` yield soon, with or without outcomes: the window has changed."""
        self._has_some.set()

    async def stream(
        self, replica: str, window_records: Callable[[], int]
    ) -> AsyncIterator[Outcomes]:
        """Yield outcomes until each record has one, or the call was ended.

        Args:
            replica: Names this replica in them.
            window_records: Returns the window to report, when an item is sent.
        """
        if self._unanswered and not await _is_set_within(self._has_some, self.named_after_s):
            yield Outcomes(replica, window_records())
        while self._unanswered or self._gathered.indexes:
            await self._has_some.wait()
            if self._unanswered and self._linger_s > 0:
                await _is_set_within(self._has_all, self._linger_s)
            outcomes, self._gathered = self._gathered, Outcomes("", 0)
            outcomes.replica, outcomes.window_records = replica, window_records()
            self._has_some.clear()
            yield outcomes


def wake_consumers(calls: Iterable[Call], consumers: Collection[str]) -> None:
    """Let one call of each of these consumers report its window."""
    waiting = set(consumers)
    for call in calls:
        if not waiting:
            return
        if call.chunk.consumer in waiting:
            waiting.remove(call.chunk.consumer)
            call.wake()


async def _is_set_within(event: asyncio.Event, timeout_s: float | None) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
    return event.is_set()
