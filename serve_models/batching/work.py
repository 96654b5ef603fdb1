"""What the batch engine needs of a model and of its requests."""

from collections.abc import Sequence
from typing import Any, Protocol

from serve_models.chunks.failures import Refusal


class Item(Protocol):
    """One row of a batch: a text, or the record of a custom model."""

    @property
    def tokens(self) -> int:
        """The length in tokens, or another measure of what the item costs the model."""
        ...

    @property
    def truncated(self) -> bool:
        """Whether it was cut to the model's length."""
        ...


class BatchModel(Protocol):
    """Runs batches. Several threads may call ``run`` at a time, beside ``prepare``."""

    def probe(self) -> Item | None:
        """Return a harmless item to test the model; raises anything if it is unwell."""
        ...

    def run(self, items: Sequence[Any]) -> Sequence[Any]:
        """Run one batch; each item gets its row, or a ``Refusal``."""
        ...


class Request(Protocol):
    @property
    def texts(self) -> Sequence[Item]: ...

    def place(self, position: int, row: Any) -> bool:
        """Fill in one item's row; returns whether it was the last."""
        ...


class RequestReader(Protocol):
    """Turns request lines into requests, and finished requests into response bodies."""

    def characters(self, line: bytes) -> int:
        """Return an estimate, never too low, of the characters that preparing a record reads."""
        ...

    def prepare(self, lines: Sequence[bytes], max_body_bytes: int) -> Sequence[Request | Refusal]:
        """Check request lines; each gets a request for the model, or its refusal.

        A response may have at most ``max_body_bytes``; 0 means no limit.
        """
        ...

    def respond(self, requests: Sequence[Any]) -> Sequence[bytes | Refusal]:
        """Return each finished request's response body, or why it has none."""
        ...
