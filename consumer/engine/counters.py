"""Counts of a consumer replica since it started; each only grows."""

from dataclasses import dataclass, field

from handoff.histogram import RECORDS_BOUNDS, Histogram


@dataclass(slots=True)
class Counters:
    """Counts of records.

    ``received = answered + refused + expired + cancelled + dead letters + skipped + still held`` at
    any time, except for records dropped with a lost partition, and for answers that their topic
    refused, which count as dead letters too. Records lost to retention were never received.

    Attributes:
        dead_letters_by_reason: ``dead_letter_records`` by the ``ErrorCode`` in the letters.
    """

    received_records: int = 0
    answered_records: int = 0
    refused_records: int = 0
    expired_records: int = 0
    cancelled_records: int = 0
    dead_letter_records: int = 0
    skipped_records: int = 0
    lost_to_retention_records: int = 0
    retried_records: int = 0
    already_done_records: int = 0
    unreadable_control_records: int = 0
    completed_records: int = 0
    measured_records: int = 0
    measured_tokens: int = 0
    received_bytes: int = 0
    dead_letters_by_reason: dict[str, int] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Published:
    """What a sink has published, in batches that the brokers acknowledged.

    Attributes:
        published_bytes: Of the batches as they were sent.
        publish_retries: Batches, or transactions, that were sent again.
        replaced_producers: Producers given up after a batch whose outcome is not known.
        batch_records: Records of a batch.
    """

    published_records: int = 0
    published_bytes: int = 0
    publish_retries: int = 0
    replaced_producers: int = 0
    batch_records: Histogram = field(default_factory=lambda: Histogram(RECORDS_BOUNDS))

    def acknowledged(self, records: int, size_bytes: int) -> None:
        self.published_records += records
        self.published_bytes += size_bytes
        self.batch_records.observe(records)


@dataclass(slots=True)
class Events:
    """Counts of what is no record.

    Attributes:
        assignments: Rebalances of the group that this member came through.
        commits: Of offsets, or transactions with them.
        refused_commits: The group had moved on.
        aborted_transactions: Of a fenced member, or with a record that its topic refused.
        committed_transactions: They are among the commits too.
        admission_closed_seconds: Time in which nothing was read because enough is held.
        published: By the sink.
    """

    assignments: int = 0
    commits: int = 0
    refused_commits: int = 0
    aborted_transactions: int = 0
    committed_transactions: int = 0
    admission_closed_seconds: float = 0.0
    published: Published = field(default_factory=Published)
