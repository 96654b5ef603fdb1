"""What consumer replicas report of themselves, and the sums over a route; plain numbers."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

import msgspec


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Records since a replica started.

    Attributes:
        received_records: Read from the requests topic.
        completed_records: Completed by a result or dead letter that the brokers have acknowledged;
            the next four are among them a moment later.
        dead_letter_records: Dead-lettered.
        expired_records: Answered ``request_expired``.
        cancelled_records: Answered ``request_cancelled``.
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
        """The mean of those measured; ``None`` where there are none."""
        return self.measured_tokens / self.measured_records if self.measured_records else None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build from ``to_dict``'s values; leave out the fields of a newer release."""
        return msgspec.convert(values, cls)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)


COUNTER_NAMES = tuple(counter.name for counter in fields(Counters))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSnapshot(Counters):
    """One consumer replica.

    Attributes:
        route: The route's name.
        replica: Names the replica; a replacement has a name of its own, or counts from 0 again.
        at_s: When the board got it, in seconds of the board's monotonic clock; the sender leaves
            it at 0.
        in_flight_records: Handed to model replicas and not answered.
        queued_records: Read and not yet handed over.
        runnable_records: Records in flight or ready to be; ``None`` on a route without order.
        reads_on: Whether the replica would read more than it holds.
        partitions: The partitions of the requests topic that are assigned to the replica.
        model_replicas: Names of the model replicas that have answered it lately.
        waits: What it waits for, a line each; few and short.
        error: Why it is unhealthy, for a person, or ``None``.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteStatus(Counters):
    """Sums over a route's consumer replicas.

    Attributes:
        route: The route's name.
        rate_records_per_s: Records completed a second, over the last seconds.
        working_records_per_s: The same over up to the last minute in which there was work: for
            slow work too, and the base of a lag in seconds.
        replicas: Consumer replicas that report.
        in_flight_records: Handed to model replicas and not answered.
        queued_records: Read and not yet handed over.
        runnable_records: Records in flight or ready to be; ``None`` on a route without order.
        reads_on: Whether a replica would read more than it holds.
        partitions: Partitions assigned to any replica, in order.
        model_replicas: Model replicas that have answered lately.
        waits: What consumers wait for, a line each; few and short.
        errors: Why replicas are unhealthy, ``REPLICA: WHY``.
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
