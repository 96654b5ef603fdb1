"""The base class of a custom model that answers batches."""

from collections.abc import Sequence
from typing import Any


class BatchedModel:
    """A model of your own that answers batches; Headrace forms them from all callers' records.

    Headrace does not compute records past their deadline. It halves a batch that fails until only
    the records at fault have no answer. It replaces a replica that hangs, or fails on everything.

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

        Runs in a thread. Do not change the bodies: a batch that raises runs again in halves.

        Returns:
            An answer for each body, in the same order: a dict (numpy arrays may be in it),
                ``bytes`` of a JSON object, or a ``BodyRefusedError``.

        Raises:
            BodyRefusedError: The answer of a batch of one record.
        """
        raise NotImplementedError

    def size(self, body: dict[str, Any]) -> int:  # noqa: ARG002 -- for subclasses
        """Return what a record costs. A batch has records of like sizes, within ``max_batch_size``.

        Raises:
            BodyRefusedError: The record is answered with this error and never computed.
        """
        return 1

    def probe(self) -> dict[str, Any] | None:
        """Return a body that every healthy replica can answer, or ``None``.

        After a batch in which a record failed, Headrace passes this body to ``predict``. If that
        fails too, Headrace replaces the replica and sends its records elsewhere without a failed
        attempt.
        """
        return None

    def check_health(self) -> None:
        """Raise to have the replica replaced; called from time to time and after failures."""
