"""Counts of a consumer replica since it started; each only grows."""

from dataclasses import dataclass, field


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
    dead_letters_by_reason: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Events:
    """Counts of what is no record.

    Attributes:
        assignments: Rebalances of the group that this member came through.
        commits: Of offsets, or transactions with them.
        refused_commits: The group had moved on.
        aborted_transactions: Of a fenced member, or with a record that its topic refused.
    """

    assignments: int = 0
    commits: int = 0
    refused_commits: int = 0
    aborted_transactions: int = 0
