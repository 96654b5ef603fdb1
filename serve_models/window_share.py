"""A replica's window, divided by the consumers that call it. Pure: time is an argument."""

from math import ceil

CONSUMER_FORGOTTEN_AFTER_S = 30.0


class ConsumerShare:
    """Remembers who called lately, and what each of them may keep in flight.

    Args:
        forgotten_after_s: A consumer that has not been seen for longer has no share any more.
    """

    def __init__(self, forgotten_after_s: float = CONSUMER_FORGOTTEN_AFTER_S) -> None:
        self._forgotten_after_s = forgotten_after_s
        self._seen_s: dict[str, float] = {}

    def seen(self, consumer: str, now_s: float) -> None:
        """Count a consumer among those that share the window for the next while.

        Args:
            consumer: ``Chunk.consumer``.
            now_s: Monotonic seconds.
        """
        self._seen_s[consumer] = now_s

    def share(self, records: float, now_s: float) -> int:
        """Return each consumer's part of a window of ``records`` at ``now_s``; 1 or more."""
        gone = [
            consumer
            for consumer, seen_s in self._seen_s.items()
            if now_s - seen_s > self._forgotten_after_s
        ]
        for consumer in gone:
            del self._seen_s[consumer]
        return max(1, ceil(records / max(1, len(self._seen_s))))
