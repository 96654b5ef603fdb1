"""The base class of a custom model that answers batches."""

from collections.abc import Sequence
from typing import Any


class BatchedModel:
    """A model of your own that answers batches; Headrace forms them of all callers' records.

    Records that have waited past their deadline are not computed. A batch that fails is halved
    until only the records at fault are without an answer. A replica that hangs, or fails on
    everything, is replaced.

    Attributes:
        max_batch_records: The most records of a batch.
        max_batch_size: The most that the number of records times the largest ``size`` may be;
            ``None`` for no limit.
        parallel_batches: How many batches run at a time, each in a thread of its own.
        outcome_linger_ms: How long answers gather before they go back to the caller.
    """

    max_batch_records = 64
    max_batch_size: int | None = None
    parallel_batches = 1
    outcome_linger_ms = 10.0

    def __init__(self, **options: Any) -> None:
        self.load(**options)

    def load(self, *args: Any, **options: Any) -> None:
        """Load the model; called once in each replica, with the ``options`` of the settings."""

    def predict(self, bodies: list[dict[str, Any]]) -> Sequence[Any]:
        """Answer one batch.

        Runs in a thread. A batch that raises is run again in halves: leave the bodies as they are.

        Args:
            bodies: The requests' bodies.

        Returns:
            An answer for each body, in the same order: a dict (numpy arrays may be in it), or
            ``bytes`` of a JSON object, or a ``BodyRefusedError``.

        Raises:
            BodyRefusedError: If the batch is of one record, the record is answered with it.
        """
        raise NotImplementedError

    def size(self, body: dict[str, Any]) -> int:  # noqa: ARG002 -- for subclasses
        """Return what a record costs: batches are of like sizes, and limited by ``max_batch_size``.

        Raises:
            BodyRefusedError: The record is answered with it and never computed.
        """
        return 1

    def probe(self) -> dict[str, Any] | None:
        """Return a body that every healthy replica can answer, or ``None``.

        Headrace asks ``predict`` for it after a batch in which some record failed. A replica that
        fails on it too is replaced, and its records go elsewhere without a failed attempt.
        """
        return None

    def check_health(self) -> None:
        """Raise if the replica should be replaced; called from time to time and after failures."""
