"""Requests of a job, and the names by which they are known on the wire."""

from typing import NamedTuple


class Request(NamedTuple):
    """One record on the requests topic: the items [first, end) of the job.

    ``attempt`` counts from 1. It rises when items that failed are sent again, so that the answers
    to one attempt are not taken for those to the next.
    """

    first: int
    end: int
    attempt: int = 1

    @property
    def items(self) -> int:
        return self.end - self.first

    def custom_id(self, job: str) -> str:
        """``JOB/FIRST-END``, and ``JOB/FIRST-END/ATTEMPT`` from the second attempt on."""
        name = f"{job}/{self.first}-{self.end}"
        return name if self.attempt == 1 else f"{name}/{self.attempt}"

    @classmethod
    def parse(cls, custom_id: str, job: str) -> "Request | None":
        """The request that ``custom_id`` names; ``None`` if it is not one of ``job``."""
        head = len(job) + 1
        if custom_id[:head] != f"{job}/":
            return None
        items, separator, attempt_text = custom_id[head:].partition("/")
        first_text, _, end_text = items.partition("-")
        attempt = _number(attempt_text) if separator else 1
        first, end = _number(first_text), _number(end_text)
        if first is None or end is None or attempt is None or first >= end or attempt < 1:
            return None
        return cls(first, end, attempt)


def _number(text: str) -> int | None:
    # 18 digits are more than any job has; a longer number is somebody else's.
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
