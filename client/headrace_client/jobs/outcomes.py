"""What a request ends in, and what is written of it."""

from dataclasses import dataclass
from typing import Any

_ALIKE = frozenset({"unknown_url", "model_not_found", "request_expired", "request_cancelled"})
_ENDED = frozenset({"request_expired", "request_cancelled"})
_TOO_LARGE = frozenset({"request_too_large", "result_too_large", "body_in_object_store"})
_RETRYABLE = _ENDED | {"model_failed", "store_failed", "result_refused", "reading_failed"}


@dataclass(frozen=True, slots=True)
class Answer:
    """A request that succeeded.

    Args:
        payload: Whatever the shell wants back with the `Piece`; the core does not look at it.
        size_bytes: What the payload takes in memory until it is written.
        tokens: What the service counted, for the rates.
    """

    payload: Any = None
    size_bytes: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """A request, or an item, that failed.

    Args:
        code: As in the wire's table of outcomes, or the shell's own.
        message: For people.
        retryable: Another attempt may succeed.
        alike: Every item of the request would fail alike, so that it is not split.
    """

    code: str
    message: str
    retryable: bool = False
    alike: bool = False

    @classmethod
    def of(cls, code: str, message: str) -> "Failure":
        """A failure by the code on the wire."""
        return cls(code, message, retryable=code in _RETRYABLE, alike=code in _ALIKE)

    @property
    def ends_with_job(self) -> bool:
        """It says that the job was cancelled or ran out of time, and nothing of the item."""
        return self.code in _ENDED

    def as_last_of(self, failed_items: int, may_fail: int) -> "Failure":
        """That too many items failed, with this as the last of them."""
        return Failure(
            "too_many_failures",
            f"{failed_items} items failed, and {may_fail} may; the last one: {self.code}: "
            f"{self.message}",
        )

    @property
    def is_cancellation(self) -> bool:
        return self.code == "request_cancelled"

    @property
    def is_too_large(self) -> bool:
        """A request of fewer items may be small enough."""
        return self.code in _TOO_LARGE


Outcome = Answer | Failure


@dataclass(frozen=True, slots=True)
class Piece:
    """What may be written next: the items [first, end), all of one outcome.

    Item ``i`` is number ``i - request_first`` of the outcome: a piece can be a part of what was
    answered, if the rest was written before. Pieces are numbered by ``sequence`` in the order in
    which they are taken.
    """

    sequence: int
    first: int
    end: int
    request_first: int
    outcome: Outcome

    @property
    def items(self) -> int:
        return self.end - self.first

    @property
    def failure(self) -> Failure | None:
        return self.outcome if isinstance(self.outcome, Failure) else None

    @property
    def payload(self) -> Any:
        """The answer's payload; ``None`` for failed items."""
        return self.outcome.payload if isinstance(self.outcome, Answer) else None
