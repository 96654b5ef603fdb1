"""Limits on lines of the same kind: token buckets, and counts of what they kept out."""

from collections.abc import Hashable
from dataclasses import dataclass

REPORT_EVERY_S = 60.0
_SWEEP_EVERY_S = 1.0

OTHERS = "others"
"""The kind of all lines whose own kind found no room."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at_s: float
    left_out: int = 0
    since_s: float = 0.0


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How many of a kind were left out, and for how long they have been counted."""

    kind: Hashable
    count: int
    within_s: float


class LineLimits:
    """One token bucket for each kind of line; pure, with monotonic seconds as ``now_s``.

    Kinds may come from what strangers send (names of topics), so they are bounded: when there are
    ``most_kinds`` of them, and each has been used lately, new kinds share one bucket.

    Args:
        burst: Lines of a kind that may follow each other.
        refill_s: After this each kind may have its whole burst again.
        most_kinds: How many buckets are kept.
    """

    def __init__(self, *, burst: int = 10, refill_s: float = 60.0, most_kinds: int = 256) -> None:
        self._burst = float(burst)
        self._per_s = burst / refill_s
        self._most_kinds = most_kinds
        self._buckets: dict[Hashable, _Bucket] = {}
        self._swept_at_s = float("-inf")

    def __len__(self) -> int:
        return len(self._buckets)

    def kind_with_room(self, kind: Hashable, now_s: float) -> Hashable:
        """Return the kind by which a line is counted: its own, or ``OTHERS``."""
        if kind in self._buckets or len(self._buckets) < self._most_kinds:
            return kind
        if now_s - self._swept_at_s >= _SWEEP_EVERY_S:
            self._swept_at_s = now_s
            # A full bucket says no more than none.
            for each in [
                each for each, bucket in self._buckets.items() if self._is_full(bucket, now_s)
            ]:
                del self._buckets[each]
        return kind if len(self._buckets) < self._most_kinds else OTHERS

    def takes(self, kind: Hashable, now_s: float, weight: int = 1) -> bool:
        """Return whether a line may be written; else it is counted, ``weight`` times."""
        bucket = self._buckets.get(kind)
        if bucket is None:
            bucket = self._buckets[kind] = _Bucket(self._burst, now_s)
        else:
            bucket.tokens = self._filled(bucket, now_s)
            bucket.filled_at_s = now_s
        if bucket.tokens >= 1.0:
            bucket.tokens -= 1.0
            return True
        if not bucket.left_out:
            bucket.since_s = now_s
        bucket.left_out += weight
        return False

    def due(self, now_s: float, *, all_of_them: bool = False) -> list[LeftOut]:
        """Return what has been left out for a minute, each once; at the end, ``all_of_them``."""
        found = []
        for kind, bucket in self._buckets.items():
            within_s = now_s - bucket.since_s
            if bucket.left_out and (all_of_them or within_s >= REPORT_EVERY_S):
                found.append(LeftOut(kind, bucket.left_out, within_s))
                bucket.left_out = 0
        return found

    def _filled(self, bucket: _Bucket, now_s: float) -> float:
        return min(self._burst, bucket.tokens + (now_s - bucket.filled_at_s) * self._per_s)

    def _is_full(self, bucket: _Bucket, now_s: float) -> bool:
        return not bucket.left_out and self._filled(bucket, now_s) >= self._burst
