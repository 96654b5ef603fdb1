"""What a replica counts of its batches, one batch at a time."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from handoff.exporting import Key
from handoff.histogram import BATCH_BOUNDS_S, RECORDS_BOUNDS, TOKENS_BOUNDS, Histogram
from serve_models.measuring.busy_time import BusyTime


@dataclass(eq=False, slots=True)
class BatchCounts:
    """Histograms and counts that only grow. The event loop owns them, but for ``busy``.

    Attributes:
        rows: Texts of each batch.
        tokens: Their tokens, without padding.
        batch_s: From a batch's start to its rows.
        queue_s: From a text's arrival in the pool to the start of its batch.
        tokenizing_s: Of a slice of a call in the tokenizer.
        padding_tokens: Of all batches.
        truncated_texts: Texts that arrived cut.
        split_batches: Ran out of memory.
        busy: Time in which a batch ran.
    """

    rows: Histogram = field(default_factory=lambda: Histogram(RECORDS_BOUNDS))
    tokens: Histogram = field(default_factory=lambda: Histogram(TOKENS_BOUNDS))
    batch_s: Histogram = field(default_factory=lambda: Histogram(BATCH_BOUNDS_S))
    queue_s: Histogram = field(default_factory=lambda: Histogram(BATCH_BOUNDS_S))
    tokenizing_s: Histogram = field(default_factory=lambda: Histogram(BATCH_BOUNDS_S))
    padding_tokens: int = 0
    truncated_texts: int = 0
    split_batches: int = 0
    busy: BusyTime = field(default_factory=BusyTime)

    def sliced(self, duration_s: float, truncated_texts: int) -> None:
        """Note a slice that the tokenizer has prepared."""
        self.tokenizing_s.observe(duration_s)
        self.truncated_texts += truncated_texts

    def ran(
        self,
        tokens: Sequence[int],
        arrived_at_s: Iterable[float],
        *,
        started_at_s: float,
        duration_s: float,
        is_padded: bool,
    ) -> None:
        """Note a batch that has ended, of texts with these tokens and times of arrival.

        Texts that arrived together have one time, so that the cost for each is a look-up.
        """
        total_tokens = sum(tokens)
        self.rows.observe(len(tokens))
        self.tokens.observe(total_tokens)
        self.batch_s.observe(duration_s)
        self.queue_s.since(Counter(arrived_at_s).items(), started_at_s)
        if is_padded:
            self.padding_tokens += len(tokens) * max(tokens) - total_tokens

    def counters(self, now_s: float) -> dict[Key, float]:
        return {
            "model_texts": self.rows.total,
            "model_tokens": self.tokens.total,
            "model_padding_tokens": self.padding_tokens,
            "model_truncated_texts": self.truncated_texts,
            "model_split_batches": self.split_batches,
            "model_busy_seconds": self.busy.until(now_s),
        }

    def histograms(self) -> dict[Key, Histogram]:
        return {
            "model_batch_rows": self.rows,
            "model_batch_tokens": self.tokens,
            "model_batch_seconds": self.batch_s,
            "model_queue_seconds": self.queue_s,
            "model_tokenizing_seconds": self.tokenizing_s,
        }
