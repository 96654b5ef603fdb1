"""What is kept of a job, so that another process can go on with it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from headrace_client.jobs.ranges import RangeSet

_VERSION = 1


class CheckpointError(ValueError):
    """A checkpoint cannot be read: it is damaged, or of a newer version."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A job as of a moment at which its output was durable.

    Args:
        items_written: Items 0 to this, exclusive, are durably written, answers and failures.
        written_above: Ranges [first, end) above these that are written too; ascending.
        items_failed: How many of the written items are failures.
        request_offsets: For each partition of the requests topic, where to scan from: at or after
            it are all requests of the job that are not durably written.
        result_offsets: For each partition of the results topic, where to read from: at or after it
            are all results that are not durably written. A partition that is in neither is read
            from its start.
        attempt: The number of the first attempt; answers to lower ones that failed are ignored.
        last_attempt: The highest number that was used.
        ending: ``cancelled`` or ``expired``.
        paused: Nothing is sent.
        active_s: How long the job has run, over all processes.
    """

    items_written: int = 0
    written_above: tuple[tuple[int, int], ...] = ()
    items_failed: int = 0
    request_offsets: Mapping[int, int] = field(default_factory=dict)
    result_offsets: Mapping[int, int] = field(default_factory=dict)
    attempt: int = 1
    last_attempt: int = 1
    ending: str | None = None
    paused: bool = False
    active_s: float = 0.0

    @property
    def written(self) -> list[tuple[int, int]]:
        """Ranges [first, end) of all items that are durably written; ascending."""
        below = [(0, self.items_written)] if self.items_written else []
        return [*below, *self.written_above]

    def again(self, failed: Iterable[tuple[int, int]] = ()) -> "Checkpoint":
        """The checkpoint from which an ended job goes on, and tries ``failed`` items once more.

        Args:
            failed: Ranges [first, end) of written items that failed. An ordered job writes them
                in their order, but after what it has written.
        """
        written = RangeSet(self.written)
        count = 0
        for first, end in failed:
            before = written.items
            written.remove(first, end)
            count += before - written.items
        prefix = written.prefix
        return replace(
            self,
            items_written=prefix,
            written_above=tuple(each for each in written if each[0] > prefix),
            items_failed=self.items_failed - count,
            attempt=self.last_attempt + 1,
            last_attempt=self.last_attempt + 1,
            ending=None,
            paused=False,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON or a database."""
        return {
            "version": _VERSION,
            "items_written": self.items_written,
            "written_above": [list(each) for each in self.written_above],
            "items_failed": self.items_failed,
            "request_offsets": [list(each) for each in sorted(self.request_offsets.items())],
            "result_offsets": [list(each) for each in sorted(self.result_offsets.items())],
            "attempt": self.attempt,
            "last_attempt": self.last_attempt,
            "ending": self.ending,
            "paused": self.paused,
            "active_s": self.active_s,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Checkpoint":
        """Read what `to_dict` made; raises `CheckpointError`."""
        version = values.get("version")
        if version != _VERSION:
            raise CheckpointError(
                f"version: this checkpoint is of version {version!r}, and this client reads "
                f"{_VERSION}; go on with the client that wrote it"
            )
        ending = values.get("ending")
        if ending not in (None, "cancelled", "expired"):
            raise CheckpointError(f"ending: the checkpoint is damaged, {ending!r} is no ending")
        try:
            return cls(
                items_written=int(values["items_written"]),
                written_above=tuple((int(a), int(b)) for a, b in values["written_above"]),
                items_failed=int(values["items_failed"]),
                request_offsets={int(a): int(b) for a, b in values["request_offsets"]},
                result_offsets={int(a): int(b) for a, b in values["result_offsets"]},
                attempt=int(values["attempt"]),
                last_attempt=int(values["last_attempt"]),
                ending=ending,
                paused=bool(values["paused"]),
                active_s=float(values["active_s"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"the checkpoint is damaged ({type(error).__name__}: {error})"
            ) from error
