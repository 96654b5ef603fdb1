"""The states of a record from its arrival to its end, and the steps between them."""

from collections.abc import Mapping
from enum import IntEnum


class RecordState(IntEnum):
    """The state of a record of this consumer. Up to ``IN_FLIGHT`` it has no outcome."""

    ARRIVED = 0
    """It was read, or unblocked: its next step is decided at once."""
    BLOCKED = 1
    """It waits for an earlier record of its key queue."""
    LOOKING_UP = 2
    """It waits to know whether its reply topic exists."""
    FETCHING = 3
    """Its body is fetched from the object store, or waits for that."""
    QUEUED = 4
    """It waits for its first call."""
    RETRYING = 5
    """It failed, here or with an earlier owner, and waits for another call."""
    IN_FLIGHT = 6
    """It is in a call, and the replica watches its deadline."""
    DEPOSITING = 7
    """Its outcome is decided; the response body is on its way to the object store."""
    BLOCKED_DEPOSITING = 8
    """Both ``BLOCKED`` and ``DEPOSITING``."""
    WITHHELD = 9
    """Its outcome is decided, and is published after that of an earlier record of its key queue."""
    DECIDED = 10
    """Its outcome is decided, and is published as soon as possible."""
    COMPLETE = 11
    """Its outcome is acknowledged."""
    DROPPED = 12
    """It has no outcome here: it is the next owner's."""


class Step(IntEnum):
    BLOCK = 0
    """An earlier record of its key queue is incomplete."""
    UNBLOCK = 1
    """The earlier record is complete."""
    FETCH = 2
    """Its body is in the object store."""
    QUEUE = 3
    """It is ready for its first call."""
    RETRY = 4
    """It is to be called again."""
    DISPATCH = 5
    """It goes out in a call."""
    DEPOSIT = 6
    """Its response is known, and too large for the topic."""
    DECIDE = 7
    """Its outcome is known."""
    ACKNOWLEDGE = 8
    """The broker has acknowledged its outcome."""
    DROP = 9
    """Its partition was lost, or this consumer stops."""
    LOOK_UP = 10
    """Nobody knows yet whether its reply topic exists."""


class IllegalStepError(RuntimeError):
    """A record took a step that its state does not allow: a bug in the engine."""


_S = RecordState
_FROM: dict[tuple[Step, RecordState], tuple[RecordState, ...]] = {
    (Step.BLOCK, _S.BLOCKED): (_S.ARRIVED,),
    (Step.UNBLOCK, _S.ARRIVED): (_S.BLOCKED,),
    (Step.UNBLOCK, _S.DEPOSITING): (_S.BLOCKED_DEPOSITING,),
    (Step.UNBLOCK, _S.DECIDED): (_S.WITHHELD,),
    (Step.LOOK_UP, _S.LOOKING_UP): (_S.ARRIVED,),
    (Step.FETCH, _S.FETCHING): (_S.ARRIVED, _S.LOOKING_UP),
    (Step.QUEUE, _S.QUEUED): (_S.ARRIVED, _S.LOOKING_UP, _S.FETCHING),
    (Step.RETRY, _S.RETRYING): (_S.ARRIVED, _S.LOOKING_UP, _S.FETCHING, _S.IN_FLIGHT),
    (Step.DISPATCH, _S.IN_FLIGHT): (_S.QUEUED, _S.RETRYING),
    (Step.DEPOSIT, _S.DEPOSITING): (_S.ARRIVED, _S.FETCHING, _S.IN_FLIGHT),
    (Step.DEPOSIT, _S.BLOCKED_DEPOSITING): (_S.BLOCKED,),
    (Step.DECIDE, _S.DECIDED): (
        _S.ARRIVED,
        _S.LOOKING_UP,
        _S.FETCHING,
        _S.QUEUED,
        _S.RETRYING,
        _S.IN_FLIGHT,
        _S.DEPOSITING,
    ),
    (Step.DECIDE, _S.WITHHELD): (_S.BLOCKED, _S.BLOCKED_DEPOSITING),
    (Step.ACKNOWLEDGE, _S.COMPLETE): (_S.DECIDED,),
    (Step.DROP, _S.DROPPED): tuple(set(_S) - {_S.ARRIVED, _S.COMPLETE, _S.DROPPED}),
}
"""The states from which a step leads to another."""


class _After(dict[RecordState, RecordState]):
    """What follows each state upon a step; a state that does not allow it raises."""

    def __init__(self, step: Step) -> None:
        super().__init__(
            {
                before: after
                for (by, after), states in _FROM.items()
                for before in states
                if by is step
            }
        )
        self._step = step

    def __missing__(self, state: RecordState) -> RecordState:
        raise IllegalStepError(f"a record that is {state.name} cannot {self._step.name}")


_AFTER = {step: _After(step) for step in Step}


def next_state(state: RecordState, step: Step) -> RecordState:
    """Return the state after a step; ``IllegalStepError`` if the state does not allow it."""
    return _AFTER[step][state]


def states_after(step: Step) -> Mapping[RecordState, RecordState]:
    """Return ``next_state`` of a step as a mapping: a look-up costs 0.05 µs, a call 0.15."""
    return _AFTER[step]
