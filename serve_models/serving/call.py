"""One handle call's outcomes on their way back: each record once, gathered for a moment."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Iterable

import orjson

from handoff.chunk import STATUS_FAILED, STATUS_UNAVAILABLE, STATUS_UNRECOVERABLE, Outcomes

ENDS_THE_TASK = (asyncio.CancelledError, KeyboardInterrupt, SystemExit)
"""Raised to end a task or the process. Whatever else is raised is a failure to answer for, even
where it is no ``Exception``: a Rust panic, in tokenizers say, is a bare ``BaseException``."""

NAMED_AFTER_S = 1.0
"""A call that is silent for so long says then which replica has it: its caller counts what is in
flight by replica, and must not take one at work on a long record for one that is gone. Not at
once, because an item more would slow down short calls."""
_MAX_ERROR_CHARACTERS = 500


def describe(error: BaseException) -> str:
    """Return an error in words."""
    return f"{type(error).__name__}: {error}"


def status_of_failure(error: BaseException) -> int:
    """Return the status of a record that a model in good health failed on, alone, by ``error``.

    ``STATUS_UNRECOVERABLE`` where the same would be raised again: an index beyond a table, a value
    that is none, a Rust panic. ``RuntimeError`` is torch's for whatever befalls a device.
    """
    would_recur = isinstance(error, ArithmeticError | LookupError | TypeError | ValueError)
    # The tokenizers library raises the bare class.
    would_recur = would_recur or type(error) is Exception or not isinstance(error, Exception)
    return STATUS_UNRECOVERABLE if would_recur else STATUS_FAILED


def encode_failure_body(error: BaseException | str) -> bytes:
    """Return the ``response.body`` of a record that the model failed on, in OpenAI's shape."""
    reason = error if isinstance(error, str) else describe(error)
    message = f"the model failed on this request: {reason}"
    return orjson.dumps(
        {
            "error": {
                "message": message[:_MAX_ERROR_CHARACTERS].encode("utf-8", "replace").decode(),
                "type": "server_error",
                "param": None,
                "code": "model_failed",
            }
        }
    )


class Call:
    """A chunk's records, answered in any order and streamed back in lists.

    Lists, because each item that a streaming call yields costs Ray Serve about 0.4 ms. One event
    loop owns it.

    Args:
        records: How many records the chunk has.
        linger_s: How long outcomes gather, counted from the first; no longer once all are there.
        consumer: Who handed it over.

    Attributes:
        named_after_s: The longest silence at the start, after which ``stream`` yields an empty
            item; ``None`` for no limit.
        loss: Why it ended with records unanswered, if it did.
    """

    named_after_s: float | None = NAMED_AFTER_S

    def __init__(self, records: int, linger_s: float, consumer: str = "") -> None:
        self.consumer = consumer
        self.loss: BaseException | None = None
        self._linger_s = linger_s
        self._unanswered = set(range(records))
        self._gathered: list[tuple[int, int, bytes, int | None]] = []
        self._has_some = asyncio.Event()
        self._has_all = asyncio.Event()

    def waits_for(self, index: int) -> bool:
        """Whether record ``index`` has no outcome yet."""
        return index in self._unanswered

    def answer(self, index: int, status: int, body: bytes, tokens: int | None = None) -> None:
        """Give record ``index`` its outcome; the first one counts.

        Args:
            index: Its position in the chunk.
            status: HTTP status.
            body: The response's body as UTF-8 JSON.
            tokens: That it took, if they were counted.
        """
        if index not in self._unanswered:
            return
        self._unanswered.remove(index)
        self._gathered.append((index, status, body, tokens))
        self._has_some.set()
        if not self._unanswered:
            self._has_all.set()

    def fail_unanswered(self, error: BaseException) -> None:
        """Answer every record that still waits: the model failed, another replica may not."""
        for index in sorted(self._unanswered):
            self.answer(index, STATUS_FAILED, encode_failure_body(error))

    def turn_away(self, but: Collection[int]) -> None:
        """Send every record that still waits elsewhere, unblamed, save those at ``but``."""
        for index in sorted(self._unanswered.difference(but)):
            self.answer(index, STATUS_UNAVAILABLE, b"")

    def give_up(self, loss: BaseException) -> None:
        """Let ``stream`` yield what is there and end; what is unanswered stays so.

        For a loss that says nothing of the records: whoever streams raises it in the end, and so
        the caller sees a call that was lost, and not a model that failed on its records.
        """
        if not self._unanswered:
            return
        self.loss = loss
        self._unanswered.clear()
        self._has_some.set()
        self._has_all.set()

    def tell(self) -> None:
        """Let ``stream`` yield soon, be there outcomes or none: the window has changed."""
        self._has_some.set()

    async def stream(self, new_outcomes: Callable[[], Outcomes]) -> AsyncIterator[Outcomes]:
        """Yield outcomes until each record has had its own, or the call was given up.

        Args:
            new_outcomes: Makes the empty ``Outcomes`` to fill, at the time that it is sent.
        """
        if self._unanswered and not await _is_set_within(self._has_some, self.named_after_s):
            yield new_outcomes()
        while self._unanswered or self._gathered:
            await self._has_some.wait()
            if self._unanswered and self._linger_s > 0:
                await _is_set_within(self._has_all, self._linger_s)
            outcomes = new_outcomes()
            for outcome in self._gathered:
                outcomes.add(*outcome)
            self._gathered = []
            self._has_some.clear()
            yield outcomes


def tell_consumers(calls: Iterable[Call], consumers: Collection[str]) -> None:
    """Let one call of each of these consumers tell its window."""
    untold = set(consumers)
    for call in calls:
        if not untold:
            return
        if call.consumer in untold:
            untold.remove(call.consumer)
            call.tell()


async def _is_set_within(event: asyncio.Event, timeout_s: float | None) -> bool:
    """Wait for an event, no longer than so many seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
    return event.is_set()
