"""How many records a model replica wants in flight from each consumer. Pure: time is an argument."""

from math import ceil

_MEMORY = 0.97
"""Weight that past batches and records keep with each new one: some 33 count."""
_FIRST_GUESS_TEXTS_PER_BATCH = 64.0
_CONSUMER_FORGOTTEN_AFTER_S = 30.0


class WindowEstimator:
    """Learns the window from what the replica was given and how fast it was.

    The pool should hold ``pool_texts`` waiting texts, because even batches are cut from a full
    pool; yet no more than the model gets through in ``horizon_s``, because what a slow replica
    hoards no other replica can take, and is done again if it dies. Never less than two batches
    beyond those running, so that the model does not wait for the network.

    Args:
        pool_texts: Waiting texts beyond which batches get no better.
        horizon_s: The longest that waiting texts should take, in seconds.
        min_batches: Waiting texts never go below this many batches.
    """

    def __init__(self, pool_texts: int, horizon_s: float = 4.0, min_batches: int = 2) -> None:
        self._pool_texts = pool_texts
        self._horizon_s = horizon_s
        self._min_batches = min_batches
        self._records = 0.0
        self._record_texts = 0.0
        self._batches = 0.0
        self._batch_texts = 0.0
        self._batch_seconds = 0.0
        self._consumers_seen_s: dict[str, float] = {}

    def consumer_seen(self, consumer: str, now_s: float) -> None:
        """Count a consumer among those that share the window for the next while."""
        self._consumers_seen_s[consumer] = now_s

    def records_arrived(self, records: int, texts: int) -> None:
        """Learn from ``records`` request records that held ``texts`` texts."""
        if records > 0:
            keep = _MEMORY**records
            # Records come in slices; within one, all count as its mean does.
            weight = (1 - keep) / (1 - _MEMORY)
            self._records = self._records * keep + weight
            self._record_texts = self._record_texts * keep + weight * texts / records

    def batch_finished(self, texts: int, duration_s: float) -> None:
        """Learn from a batch of ``texts`` texts that took the model ``duration_s`` seconds."""
        self._batches = self._batches * _MEMORY + 1
        self._batch_texts = self._batch_texts * _MEMORY + texts
        self._batch_seconds = self._batch_seconds * _MEMORY + max(duration_s, 1e-6)

    def window_records(self, now_s: float) -> int:
        """Return how many records each consumer should keep in flight to this replica, 1 or more."""
        texts_per_batch = (
            self._batch_texts / self._batches if self._batches else _FIRST_GUESS_TEXTS_PER_BATCH
        )
        floor_texts = self._min_batches * texts_per_batch
        waiting_texts = floor_texts
        if self._batches:
            texts_per_s = self._batch_texts / self._batch_seconds
            waiting_texts = max(floor_texts, min(self._pool_texts, texts_per_s * self._horizon_s))
        running_texts = 2 * texts_per_batch
        texts_per_record = max(1.0, self._record_texts / self._records) if self._records else 1.0
        records = (waiting_texts + running_texts) / texts_per_record
        return max(1, ceil(records / max(1, self._consumers(now_s))))

    def _consumers(self, now_s: float) -> int:
        gone = [
            consumer
            for consumer, seen_s in self._consumers_seen_s.items()
            if now_s - seen_s > _CONSUMER_FORGOTTEN_AFTER_S
        ]
        for consumer in gone:
            del self._consumers_seen_s[consumer]
        return len(self._consumers_seen_s)
