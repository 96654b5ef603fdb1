"""Gathers what the calls of one consumer have finished, for one of them to carry back."""

import asyncio
from typing import Protocol

from handoff.chunk import Outcomes


class GatheringCall(Protocol):
    """A call as ``Gathering`` sees it; ``number`` is the consumer's, or 0."""

    @property
    def number(self) -> int: ...

    @property
    def is_complete(self) -> bool:
        """Whether each record is answered; the call then carries its last outcomes itself."""
        ...

    def take_gathered(self) -> Outcomes: ...

    def let_carry(self) -> Outcomes:
        """Hand what is gathered to another call, which carries it."""
        ...

    def carry(self) -> None:
        """Stream soon what is gathered, of this call and of others."""
        ...


class Gathering:
    """The open calls of one consumer, and which of them have outcomes to carry.

    Each list that a call streams costs Ray Serve about 0.4 ms. Records of a generator end one by
    one, so each call would stream nearly as many lists as it has records. Gathered over all calls,
    there is about one list in ``linger_s``.
    """

    def __init__(self) -> None:
        self._open: dict[GatheringCall, None] = {}
        self._with_outcomes: dict[GatheringCall, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __bool__(self) -> bool:
        return bool(self._open)

    def opened(self, call: GatheringCall) -> None:
        self._open[call] = None

    def closed(self, call: GatheringCall) -> None:
        del self._open[call]
        self._with_outcomes.pop(call, None)
        if self._with_outcomes:
            # It may have been about to carry these.
            self._carry()
        elif self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def add(self, call: GatheringCall, linger_s: float) -> None:
        """Note that a call has outcomes, to be carried within ``linger_s``."""
        self._with_outcomes[call] = None
        if linger_s <= 0:
            call.carry()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(linger_s, self._carry)

    def take(self, carrier: GatheringCall) -> tuple[Outcomes, list[tuple[GatheringCall, Outcomes]]]:
        """Take the carrier's own outcomes, and those of other calls that go on."""
        self._with_outcomes.pop(carrier, None)
        others = [each for each in self._with_outcomes if not each.is_complete]
        for each in others:
            del self._with_outcomes[each]
        if self._timer is not None:
            # What is left has been told to carry itself.
            self._timer.cancel()
            self._timer = None
        return carrier.take_gathered(), [(each, each.let_carry()) for each in others]

    def _carry(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._open and any(not each.is_complete for each in self._with_outcomes):
            # The oldest call: its end is the least likely to overtake what it carried.
            next(iter(self._open)).carry()
