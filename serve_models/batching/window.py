"""How many records a replica that runs batches wants in flight."""

from serve_models.chunks.window import SharedWindow

_MEMORY_RECORDS = 256
_MEMORY_BATCHES = 32
_FIRST_GUESS_TEXTS_PER_BATCH = 64.0


class BatchWindow(SharedWindow):
    """Learns the window from the texts that arrive and the batches that finish.

    The pool should hold ``pool_texts`` waiting texts, because even batches are cut from a full
    pool. It should hold no more than the model computes in ``horizon_s``, because waiting texts
    cannot move to another replica, and are lost if this one dies. It should hold at least
    ``min_batches`` beyond those running, so that the model does not wait for the network.
    """

    def __init__(
        self,
        pool_texts: int,
        horizon_s: float = 15.0,
        min_batches: int = 2,
        parallel_batches: int = 1,
    ) -> None:
        super().__init__(0.0)
        self._pool_texts = pool_texts
        self._parallel_batches = parallel_batches
        self._horizon_s = horizon_s
        self._min_batches = min_batches
        self._texts_per_record = _Mean(_MEMORY_RECORDS)
        self._tokens_per_text = _Mean(_MEMORY_RECORDS)
        self._tokens_per_batch = _Mean(_MEMORY_BATCHES)
        self._seconds_per_batch = _Mean(_MEMORY_BATCHES)

    def records_arrived(self, records: int, texts: int, tokens: int) -> None:
        self._texts_per_record.add(texts, records)
        self._tokens_per_text.add(tokens, texts)

    def batch_finished(self, tokens: int, duration_s: float) -> None:
        """Learn from a batch of ``tokens`` tokens, without padding."""
        self._tokens_per_batch.add(tokens, 1)
        self._seconds_per_batch.add(duration_s, 1)

    @property
    def total_records(self) -> float:
        # By tokens, because one batch may be all long texts and the next all short ones.
        tokens_per_text = max(self._tokens_per_text.value, 1.0)
        if self._tokens_per_batch.weight:
            texts_per_batch = self._tokens_per_batch.value / tokens_per_text
            seconds_per_batch = max(self._seconds_per_batch.value, 1e-6)
            texts_per_s = self._parallel_batches * texts_per_batch / seconds_per_batch
            waiting_texts = min(self._pool_texts, texts_per_s * self._horizon_s)
        else:
            texts_per_batch, waiting_texts = _FIRST_GUESS_TEXTS_PER_BATCH, 0.0
        fewest_batches = max(self._min_batches, self._parallel_batches)
        waiting_texts = max(waiting_texts, fewest_batches * texts_per_batch)
        # One batch more than run at a time stands ready.
        running_texts = (self._parallel_batches + 1) * texts_per_batch
        texts_per_record = max(self._texts_per_record.value, 1.0)
        return (waiting_texts + running_texts) / texts_per_record


class _Mean:
    """The mean of about the last ``memory`` observations; 0 before the first."""

    def __init__(self, memory: float) -> None:
        self._keep = 1 - 1 / memory
        self._total = 0.0
        self.weight = 0.0

    def add(self, total: float, count: int) -> None:
        if count > 0:
            keep = self._keep**count
            # Each observation counts as the mean of its group.
            weight = (1 - keep) / (1 - self._keep)
            self._total = self._total * keep + weight * total / count
            self.weight = self.weight * keep + weight

    @property
    def value(self) -> float:
        return self._total / self.weight if self.weight else 0.0
