"""How many records a generator's replica wants in flight from each consumer. Pure."""

from collections import Counter

from serve_models.window_share import ConsumerShare


class SlotWindow:
    """Divides a little more than the engine's slots among the consumers that call.

    What is over the slots waits in the engine, so that a slot that frees is filled at once and not
    a round trip later. A consumer counts while it has a call here, however long nothing of it is
    answered, and for a while after.

    Args:
        slots: Sequences that the engine runs at a time, vLLM's ``max_num_seqs``.
        in_flight_ratio: Records in flight in all, by the slots.
    """

    def __init__(self, slots: int, in_flight_ratio: float) -> None:
        self._records = slots * in_flight_ratio
        self._share = ConsumerShare()
        self._open_calls: Counter[str] = Counter()

    def call_started(self, consumer: str, now_s: float) -> None:
        """Take note that a consumer handed over a chunk, at ``now_s`` (monotonic seconds)."""
        self._open_calls[consumer] += 1
        self._share.seen(consumer, now_s)

    def call_ended(self, consumer: str, now_s: float) -> None:
        """Take note that a chunk is answered or was given up by its consumer."""
        self._share.seen(consumer, now_s)
        self._open_calls[consumer] -= 1
        if not self._open_calls[consumer]:
            del self._open_calls[consumer]

    def window_records(self, now_s: float) -> int:
        """Return how many records each consumer should keep in flight here, 1 or more."""
        for consumer in self._open_calls:
            self._share.seen(consumer, now_s)
        return self._share.share(self._records, now_s)
