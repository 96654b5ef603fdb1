"""Failures by what is to be done next, rather than by what went wrong."""

from enum import StrEnum

from handoff.chunk import STATUS_UNAVAILABLE, STATUS_UNRECOVERABLE


class Failure(StrEnum):
    """Why a record that was handed to a model replica has no answer.

    The first two are what ``retry.on`` in the settings names.
    """

    MODEL_ERROR = "model_error"
    """The model failed on the record, or on its batch; the replica is alive. It counts against the
    record."""
    REPLICA_LOST = "replica_lost"
    """The replica was gone, or the call was, before the answer. It counts against every record of
    the call, but only one that was alone is given up for it."""
    UNAVAILABLE = "unavailable"
    """The replica has no room or is not ready: again later, and nothing counts."""
    UNRECOVERABLE = "unrecoverable"
    """The model says that it would fail again: given up at once."""


class NextStep(StrEnum):
    """What becomes of a failed record."""

    GIVE_UP = "give_up"
    """A dead letter, now."""
    AGAIN = "again"
    """Once more after a backoff, in smaller company; it has one more failure to its name."""
    AGAIN_UNBLAMED = "again_unblamed"
    """Once more after a backoff; nothing is held against it."""


def failure_of_status(status: int) -> Failure:
    """Return the kind of failure that an outcome's HTTP status, 500 or above, stands for."""
    if status == STATUS_UNAVAILABLE:
        return Failure.UNAVAILABLE
    return Failure.UNRECOVERABLE if status == STATUS_UNRECOVERABLE else Failure.MODEL_ERROR


def next_step(
    failure: Failure,
    *,
    retried: frozenset[Failure],
    is_blamed: bool,
    strikes: int,
    max_attempts: int,
    is_alone: bool,
) -> NextStep:
    """Decide about one failed record.

    Args:
        failure: What befell it.
        retried: The failures that the route retries.
        is_blamed: The failure counts against the record; it does not while the model is down.
        strikes: Failures that counted before this one.
        max_attempts: How many failures may count before it is given up.
        is_alone: No other record can have caused the failure. One that failed in company is tried
            alone first, however many failures it has to its name: a neighbour may be the cause.
    """
    if failure is Failure.UNAVAILABLE:
        return NextStep.AGAIN_UNBLAMED
    if failure is Failure.UNRECOVERABLE or failure not in retried:
        return NextStep.GIVE_UP
    if not is_blamed:
        return NextStep.AGAIN_UNBLAMED
    return NextStep.GIVE_UP if is_alone and strikes + 1 >= max_attempts else NextStep.AGAIN
