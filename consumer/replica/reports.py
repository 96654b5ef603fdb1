"""The reports of consumer replicas, and the sums over a route; plain numbers."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

import msgspec


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Records since a replica started.

    Attributes:
        completed_records: Completed by a result or dead letter that the brokers have acknowledged;
            the next four are among them a moment later.
        refused_records: Answered 4xx by the endpoint.
        retried_records: Dispatched again after a failure; a record counts each time.
        skipped_records: Tombstones.
        lost_to_retention_records: Deleted by the topic's retention before they were read; in
            offsets, so an upper bound.
        measured_records: Answered by a model that counts tokens.
        measured_tokens: Tokens that those took, read and generated.
    """

    received_records: int = 0
    completed_records: int = 0
    dead_letter_records: int = 0
    expired_records: int = 0
    cancelled_records: int = 0
    refused_records: int = 0
    retried_records: int = 0
    skipped_records: int = 0
    lost_to_retention_records: int = 0
    measured_records: int = 0
    measured_tokens: int = 0

    @property
    def tokens_per_record(self) -> float | None:
        return self.measured_tokens / self.measured_records if self.measured_records else None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build from ``to_dict``'s values; leave out the fields of a newer release."""
        return msgspec.convert(values, cls)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


COUNTER_NAMES = tuple(counter.name for counter in fields(Counters))
REPORTED_TIMES = ("waiting", "model", "end_to_end")
"""Those of ``consumer.engine.timings`` that go into a report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSnapshot(Counters):
    """One consumer replica.

    Attributes:
        replica: Names the replica; a replacement has a name of its own, or counts from 0 again.
        at_s: When the board got it, in seconds of the board's monotonic clock; the sender leaves
            it at 0.
        queued_records: Read and not yet handed to model replicas.
        runnable_records: Records in flight or ready to be; ``None`` on a route without order.
        reads_on: Whether the replica would read more than it holds.
        partitions: Assigned partitions of the requests topic.
        model_replicas: Names of the model replicas that have answered it lately.
        waits: What it waits for, a line each; few and short.
        error: Why it is unhealthy, for a person, or ``None``.
        held_records: Read and without an acknowledged outcome.
        held_bytes: Bytes of those, with their outcomes.
        most_records: How many it may hold (``flow.max_records``); 0 where it does not say so.
        most_bytes: The same of bytes.
        oldest_s: Since the oldest record without an outcome was read; 0 without any.
        admission_closed_s: For how long it has read nothing because it holds enough.
        is_breaker_open: Whether it gives the model a rest after failures.
        is_suspended: Whether it reads and calls nothing, since the group rebalances.
        window_records: What the model's replicas let it have in flight; 0 before they say it.
        times: Histograms by ``REPORTED_TIMES``: counts by bucket, not cumulative.
        dead_letters_by_reason: By the error code in the dead letters.
    """

    route: str
    replica: str
    at_s: float = 0.0
    in_flight_records: int = 0
    queued_records: int = 0
    runnable_records: int | None = None
    reads_on: bool = True
    partitions: list[int] = field(default_factory=list)
    model_replicas: list[str] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
    error: str | None = None
    held_records: int = 0
    held_bytes: int = 0
    most_records: int = 0
    most_bytes: int = 0
    oldest_s: float = 0.0
    admission_closed_s: float | None = None
    is_breaker_open: bool = False
    is_suspended: bool = False
    window_records: int = 0
    times: dict[str, list[int]] = field(default_factory=dict)
    dead_letters_by_reason: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteStatus(Counters):
    """Sums over a route's consumer replicas; the other fields are those of ``ReplicaSnapshot``.

    Attributes:
        rate_records_per_s: Records completed a second, over the last seconds.
        working_records_per_s: The same over up to the last minute in which there was work: for
            slow work too, and the base of a lag in seconds.
        replicas: Consumer replicas that report.
        partitions: Partitions assigned to any replica, in order.
        model_replicas: Model replicas that have answered lately.
        errors: Why replicas are unhealthy, ``REPLICA: WHY``.
        dead_letters_by_reason: ``dead_letter_records`` by error code.
    """

    route: str
    rate_records_per_s: float = 0.0
    working_records_per_s: float = 0.0
    replicas: int = 0
    in_flight_records: int = 0
    queued_records: int = 0
    runnable_records: int | None = None
    reads_on: bool = True
    partitions: list[int] = field(default_factory=list)
    model_replicas: int = 0
    waits: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    dead_letters_by_reason: dict[str, int] = field(default_factory=dict)
