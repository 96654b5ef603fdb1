"""What the batch engine needs of a model and of its requests."""

from collections.abc import Sequence
from typing import Any, Protocol

from serve_models.serving.failures import Refusal


class Item(Protocol):
    """What a batch is made of: a text, or the record of a custom model."""

    @property
    def tokens(self) -> int:
        """Its length in tokens, or another measure of what it costs the model."""
        ...


class BatchModel(Protocol):
    """Runs batches. ``run`` may be called in several threads at a time, beside ``prepare``."""

    def probe(self) -> Item | None:
        """Return something harmless to run, to see whether the model works at all.

        Raises:
            BaseException: The model is unwell.
        """
        ...

    def run(self, items: Sequence[Any]) -> Sequence[Any]:
        """Run one batch; each item gets its row, or a ``Refusal``."""
        ...


class Request(Protocol):
    """A record that is ready for the model."""

    @property
    def texts(self) -> Sequence[Item]:
        """What to run for it."""
        ...

    def place(self, position: int, row: Any) -> bool:
        """Fill in one item's row; returns whether it was the last."""
        ...


class RequestReader(Protocol):
    """Makes requests of request lines, and response bodies of finished requests."""

    def characters(self, line: bytes) -> int:
        """Return about how many characters of a record there are to prepare, or a few more."""
        ...

    def prepare(self, lines: Sequence[bytes], max_body_bytes: int) -> Sequence[Request | Refusal]:
        """Check records; each gets a request for the model, or its refusal.

        Args:
            lines: Request lines.
            max_body_bytes: The most bytes that a response may have; 0 where there is no limit.
        """
        ...

    def respond(self, requests: Sequence[Any]) -> Sequence[bytes | Refusal]:
        """Return each finished request's response body, or why it has none."""
        ...
