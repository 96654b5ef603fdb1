"""The atomic end: parts become OUT, or it is as if nothing had happened."""

from collections.abc import Sequence
from dataclasses import dataclass

from headrace_client.bulk.output.destination import Destination
from headrace_client.bulk.output.layout import Layout
from headrace_client.bulk.output.parts import Part


@dataclass(frozen=True, slots=True)
class Finished:
    """What the job left: counts of rows in OUT and in the failed file."""

    rows: int
    failed_rows: int
    out_bytes: int


class Ending:
    """Ends a job. Order for the caller:

    1. at start, ``resume()``: completes an end that a crash interrupted; if it returns what was
       finished, OUT is whole: note that in the state, ``clean()``;
    2. ``finish(parts)`` (or ``merge(parts)`` for --retry-failed) after the last ``finish_part``;
    3. note in the state that the job ended, then ``clean()``.
    """

    def __init__(self, layout: Layout, destination: Destination) -> None: ...

    def resume(self) -> Finished | None: ...

    def finish(self, parts: Sequence[Part]) -> Finished:
        """Raises ``DiskFull``: says how much is needed; the same call goes on."""
        raise NotImplementedError

    def merge(self, parts: Sequence[Part]) -> Finished:
        """Put the rows of a --retry-failed job at their places in OUT; rewrite the failed file.

        ``parts`` were written by a ``PartWriter`` that was given the rows of the failed file only,
        in their order, under their row numbers.
        """
        raise NotImplementedError

    def clean(self) -> None:
        """Remove parts, stores and the journal; manifest and checkpoint are the caller's."""
