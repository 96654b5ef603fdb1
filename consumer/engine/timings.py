"""How long records take, by the part of their way. Pure: the callers have the clocks."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from consumer.engine.work import WorkItem
from handoff.histogram import RECORDS_BOUNDS, Histogram


@dataclass(eq=False, slots=True)
class Timings:
    """Histograms in seconds, one value a record unless said otherwise.

    Records that were read, decided or published together have the same times, so that they are
    observed together: the cost for each is a look-up.

    Attributes:
        waiting: From the reading to the first call.
        model: From a call to an answer of it, each time that a record is answered.
        publishing: From the decided outcome to its acknowledgement, or to the transaction's.
        end_to_end: From the record's timestamp to the acknowledgement of its outcome; by the wall
            clocks of the producer (or broker) and of this machine.
        committing: One value a commit of offsets, or a transaction, from its start to its end.
        chunk_records: No time: the records of each call.
    """

    waiting: Histogram = field(default_factory=Histogram)
    model: Histogram = field(default_factory=Histogram)
    publishing: Histogram = field(default_factory=Histogram)
    end_to_end: Histogram = field(default_factory=Histogram)
    committing: Histogram = field(default_factory=Histogram)
    chunk_records: Histogram = field(default_factory=lambda: Histogram(RECORDS_BOUNDS))

    def dispatched(self, items: Sequence[WorkItem], now_s: float) -> None:
        """Note a call, before it is noted in its records."""
        first = Counter([item.received_at_s for item in items if not item.dispatched_at_s])
        self.waiting.since(first.items(), now_s)
        self.chunk_records.observe(len(items))

    def published(self, items: Sequence[WorkItem], now_s: float, epoch_ms: int) -> None:
        """Note acknowledged outcomes, before their records are let go."""
        decided = Counter([item.decided_at_s for item in items])
        self.publishing.since(decided.items(), now_s)
        produced = Counter([item.record.timestamp_ms for item in items])
        starts_s = ((at_ms / 1000, times) for at_ms, times in produced.items() if at_ms is not None)
        self.end_to_end.since(starts_s, epoch_ms / 1000)
