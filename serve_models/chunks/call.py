"""One handle call: each record is answered once, and outcomes stream back in lists."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Iterable

from handoff.chunk import STATUS_FAILED, STATUS_UNAVAILABLE, Chunk, Outcomes
from serve_models.chunks.failures import encode_failure_body
from serve_models.chunks.gathering import Gathering
from serve_models.chunks.traces import RecordTraces

NAMED_AFTER_S = 1.0
"""After this silence a call names the replica that has it: the caller counts records in flight
by replica, and must not mistake a replica with a long record for a lost one. Not at once: one more
item would slow down short calls."""


class Call:
    """A chunk in flight in this replica. One event loop owns it.

    Outcomes are yielded in lists, because each item of a streaming call costs Ray Serve about 0.4
    ms.

    Args:
        chunk: The records.
        linger_s: How long outcomes gather, from the first one; no longer once all are there.
        gathering: What the other calls of the same consumer gather, if they carry each other's
            outcomes.
        traces: Of its sampled records, if there are any.

    Attributes:
        tasks: Work for this call alone; the server cancels it when the call ends.
        named_after_s: The longest silence at the start, after which ``stream`` yields an empty
            item; ``None`` for no limit.
        loss: Why the call ended with records unanswered, if it did.
        unstreamed_records: How many have not been streamed back, by this call or by another.
    """

    named_after_s: float | None = NAMED_AFTER_S

    def __init__(
        self,
        chunk: Chunk,
        linger_s: float,
        gathering: Gathering | None = None,
        traces: RecordTraces | None = None,
    ) -> None:
        self.chunk = chunk
        self.traces = traces
        self.tasks: list[asyncio.Task[None]] = []
        self.loss: BaseException | None = None
        self._linger_s = linger_s
        self._unanswered = set(range(len(chunk.lines)))
        self._gathered = Outcomes("", 0)
        self._carried_elsewhere = 0
        self.unstreamed_records = len(chunk.lines)
        self._is_open = True
        self._has_item = asyncio.Event()
        self._gathering = Gathering() if gathering is None else gathering
        self._gathering.opened(self)

    @property
    def number(self) -> int:
        return self.chunk.call

    @property
    def is_complete(self) -> bool:
        return not self._unanswered

    def waits_for(self, index: int) -> bool:
        return index in self._unanswered

    def answer(self, index: int, status: int, body: bytes, tokens: int | None = None) -> None:
        """Answer record ``index`` with a status and a UTF-8 JSON body; the first answer counts.

        ``tokens`` is what it took, ``None`` if not counted.
        """
        if index not in self._unanswered:
            return
        self._unanswered.remove(index)
        if self.traces is not None:
            self.traces.answered(index, status)
        self._gathered.add(index, status, body, tokens)
        if self._unanswered:
            self._gathering.add(self, self._linger_s)
        else:
            self.carry()

    def answer_all(self, outcomes: Outcomes) -> None:
        """Answer several records; without any, ``stream`` still yields an item."""
        answers = zip(outcomes.indexes, outcomes.statuses, outcomes.bodies, strict=True)
        for index, status, body in answers:
            self.answer(index, status, body)
        self._gathered.measured_records += outcomes.measured_records
        self._gathered.measured_tokens += outcomes.measured_tokens
        self.carry()

    def fail_unanswered(self, error: BaseException) -> None:
        """Answer the other records: the model failed, another replica may not."""
        for index in sorted(self._unanswered):
            self.answer(index, STATUS_FAILED, encode_failure_body(error))

    def turn_away(self, but: Collection[int]) -> None:
        """Send the other records, except ``but``, elsewhere without a failed attempt."""
        for index in sorted(self._unanswered.difference(but)):
            self.answer(index, STATUS_UNAVAILABLE, b"")

    def end(self, loss: BaseException | None = None) -> None:
        """Make ``stream`` yield what is there and end; unanswered records stay unanswered.

        Pass ``loss`` if it says nothing about the records: the server raises it at the end of the
        stream, so that the caller sees a lost call and not failed records.
        """
        if self._unanswered:
            self.loss = loss
            self._unanswered.clear()
            self.carry()

    def say_working(self) -> None:
        """Make ``stream`` say soon that the model works on the unanswered records."""
        if self._unanswered:
            self._gathered.is_working = True
            self.carry()

    def let_carry(self) -> Outcomes:
        """Hand what is gathered to another call, which carries it."""
        outcomes = self.take_gathered()
        self._carried_elsewhere += len(outcomes.indexes)
        return outcomes

    def carry(self) -> None:
        """Make ``stream`` yield soon, with or without outcomes: the window may have changed."""
        self._has_item.set()

    def close(self) -> None:
        """Carry nothing more; ``stream`` has ended, or nobody reads it."""
        if self._is_open:
            self._is_open = False
            # An answer that comes later, from a batch that still runs, reaches nobody.
            self._unanswered.clear()
            if self.traces is not None:
                self.traces.close()
            self._gathering.closed(self)

    def take_gathered(self) -> Outcomes:
        outcomes, self._gathered = self._gathered, Outcomes("", 0)
        self.unstreamed_records -= len(outcomes.indexes)
        return outcomes

    async def stream(
        self, replica: str, window_records: Callable[[], int]
    ) -> AsyncIterator[Outcomes]:
        """Yield outcomes until each record has one, or the call was ended.

        They carry the name ``replica``, and the window that ``window_records`` returns when sent.
        """
        if self._unanswered and not await _is_set_within(self._has_item, self.named_after_s):
            yield Outcomes(replica, window_records())
        is_last = not self.chunk.lines
        while not is_last:
            await self._has_item.wait()
            self._has_item.clear()
            is_last = self.is_complete
            outcomes, others = self._gathering.take(self)
            outcomes.replica, outcomes.window_records = replica, window_records()
            for call, gathered in others:
                gathered.replica = replica
                outcomes.others[call.number] = gathered
            if is_last:
                outcomes.elsewhere = self._carried_elsewhere
                self.close()
            if not is_last or outcomes.indexes or outcomes.others or outcomes.elsewhere:
                yield outcomes


def wake_consumers(calls: Iterable[Call], consumers: Collection[str]) -> None:
    waiting = set(consumers)
    for call in calls:
        if not waiting:
            return
        if call.chunk.consumer in waiting:
            waiting.remove(call.chunk.consumer)
            call.carry()


async def _is_set_within(event: asyncio.Event, timeout_s: float | None) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
    return event.is_set()
