"""The overview: what is known of a service at one moment. Plain values; JSON both ways.

A lag, rate or percentile that nobody knows is ``None``, never 0. Rates and percentiles cover the
last seconds or the last minute; counts grow since the consumers started.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

import msgspec


class RouteState(StrEnum):
    """How a route stands.

    Attributes:
        RUNNING: It reads, whether or not there is something to read.
        STARTING: It is deployed, and its first consumer is not there yet.
        PAUSED: Somebody told it to.
        DRAINING: It finishes what it holds, and ends.
        STANDING_STILL: It has work and does none, or could not read if work came. ``reasons`` of
            the route say what it waits for; there is always one.
        UNKNOWN: No service answered.
    """

    RUNNING = "running"
    STARTING = "starting"
    PAUSED = "paused"
    DRAINING = "draining"
    STANDING_STILL = "standing still"
    UNKNOWN = "unknown"


class ReasonCode(StrEnum):
    """What a route waits for."""

    PAUSED = "paused"
    STOPPING = "stopping"
    STARTING = "starting"
    NO_SERVICE = "no service"
    NOT_DEPLOYED = "not deployed"
    NO_CONSUMER = "no consumer"
    CONSUMER_FAILED = "consumer failed"
    TOPIC_MISSING = "topic missing"
    BROKERS_SILENT = "brokers silent"
    NO_PARTITION = "no partition"
    REBALANCING = "rebalancing"
    NO_MODEL_REPLICA = "no model replica"
    BREAKER_OPEN = "breaker open"
    ADMISSION_CLOSED = "admission closed"
    NO_LEADER = "no leader"
    OPEN_TRANSACTION = "open transaction"
    WAITS = "waits"
    """A consumer says it in its own words."""
    NOTHING_COMPLETES = "nothing completes"
    """Work is there and nothing is known to be in its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a route stands still or goes slower than it could; ``text`` is a sentence for a person.

    Attributes:
        blocks: Whether it keeps the whole route from going on, and not a part of it.
    """

    code: ReasonCode
    text: str
    blocks: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """How far a route is behind, by the brokers.

    Attributes:
        committed_records: From the committed offsets to the logs' ends. Records finish out of
            order, so that this overstates what is left.
        left_records: The same without those that are done already, by the completion maps.
        blocked_records: Records behind open transactions.
        left_s: How long the rest takes at the speed of the last minute with work.
        left_tokens: The rest in tokens, by the measured mean of a record.
        partitions: Of the requests topic.
        largest_partition: The partition with the most records left, and how many they are.
    """

    committed_records: int
    left_records: int
    blocked_records: int = 0
    left_s: float | None = None
    left_tokens: int | None = None
    partitions: int = 0
    largest_partition: int | None = None
    largest_partition_records: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Records a second over the last ``window_s`` seconds.

    Attributes:
        window_s: What is covered; shorter than asked for after a start.
        failed_records_per_s: Dead letters, refused (4xx) and expired ones; a part of the completed.
    """

    window_s: float
    received_records_per_s: float
    completed_records_per_s: float
    failed_records_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Percentiles of the last minute, interpolated within histogram buckets.

    They are ``None`` without a record in that time.
    """

    records: int = 0
    p50_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """A route's times.

    Attributes:
        waiting: From the reading of a record to its first call.
        model: From a call to the answer of a record.
        end_to_end: From a record's timestamp to the acknowledgement of its outcome.
    """

    waiting: Latency = Latency()
    model: Latency = Latency()
    end_to_end: Latency = Latency()


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a route's consumers hold in memory, and how much they may by the settings.

    Attributes:
        in_flight_records: Handed to model replicas and not answered.
        queued_records: Read and not yet handed over.
        records: Without an acknowledged outcome, those two among them.
        most_records: What all running consumers may hold.
        oldest_s: Since the oldest of them was read; ``None`` without any.
        admission_closed_s: How long a consumer has read nothing because it holds enough; the
            longest; ``None`` where all read.
    """

    in_flight_records: int = 0
    queued_records: int = 0
    records: int = 0
    most_records: int | None = None
    bytes: int = 0
    most_bytes: int | None = None
    oldest_s: float | None = None
    admission_closed_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Records since the consumers started; they never decrease while the status board runs.

    Attributes:
        dead_letters_by_reason: As far as consumers say it.
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
    dead_letters_by_reason: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    """One consumer replica.

    Attributes:
        partitions: How many it is assigned.
        state: ``reading``, ``full`` (admission is closed), ``suspended`` (the group rebalances),
            ``paused`` or ``failed``.
        error: Why it is unhealthy.
    """

    replica: str
    state: str
    partitions: int = 0
    in_flight_records: int = 0
    queued_records: int = 0
    held_records: int = 0
    held_bytes: int = 0
    is_breaker_open: bool = False
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """A deployment's replicas: how many run, and how many should; ``None``: not known."""

    running: int | None = None
    target: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteOverview:
    """One route.

    Attributes:
        reasons: What it waits for, the gravest first; on a running route, what holds up a part.
        lag: ``None`` where the brokers did not answer, or the topic is missing.
        quiet_s: For how long nothing was completed, as far as it is known.
        latest: Rates of the last ten seconds.
        minute: Rates of the last minute.
        breaker_open_consumers: Consumers that give their model a rest after failures.
        consumers: Replicas of the route's consumer deployment.
        scaling: The latest decision on their number, where they scale.
        members: The consumers that report, those in trouble first; at most
            ``headrace.overview.assembly.MOST_MEMBERS``.
    """

    name: str
    requests_topic: str
    results_topic: str
    dead_letters_topic: str
    group: str
    model: str
    delivery: str = "at_least_once"
    state: RouteState
    reasons: list[Reason] = field(default_factory=list)
    lag: Lag | None = None
    quiet_s: float | None = None
    latest: Rates | None = None
    minute: Rates | None = None
    latency: Latencies = Latencies()
    held: Held = Held()
    totals: Totals = field(default_factory=Totals)
    breaker_open_consumers: int = 0
    assigned_partitions: int = 0
    consumers: Replicas = Replicas()
    scaling: str | None = None
    members: list[Consumer] = field(default_factory=list)

    @property
    def is_standing_still(self) -> bool:
        return self.state is RouteState.STANDING_STILL


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOverview:
    """One model.

    Attributes:
        routes: The routes that call it, through pipelines too.
        why_not: Why fewer replicas run than should, in Serve's words.
        scaling: The latest decision on its replicas, where it scales by the lag.
        runs_on: What its replicas chose by themselves: a device, a number format, and so on.
        in_flight_records: Records that consumers have there.
        window_records: Records that its replicas let consumers have there.
    """

    name: str
    kind: str
    source: str = ""
    routes: list[str] = field(default_factory=list)
    replicas: Replicas = Replicas()
    why_not: str | None = None
    scaling: str | None = None
    runs_on: list[str] = field(default_factory=list)
    in_flight_records: int = 0
    window_records: int | None = None
    completed_records_per_s: float | None = None
    latency: Latency = Latency()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentOverview:
    """A deployment that has fewer replicas than it should have; ``why`` is Serve's message."""

    name: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOverview:
    """One job that its runner has announced.

    Attributes:
        state: A value of ``headrace_client.registry.announcements.State``, or ``cancelling``.
        unit: What is counted: ``rows``, ``items`` or ``requests``.
        eta_s: Seconds to go, from now.
        silent_s: How long its runner has been silent, if it should not be.
    """

    name: str
    kind: str
    state: str
    route: str | None = None
    description: str = ""
    user: str = ""
    unit: str = "rows"
    total: int | None = None
    done: int = 0
    failed: int = 0
    rate_per_s: float | None = None
    tokens_per_s: float | None = None
    eta_s: float | None = None
    started_at_ms: int = 0
    deadline_ms: int | None = None
    silent_s: float | None = None
    is_finished: bool = False
    waits_for: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionOverview:
    """One partition of a requests topic; what ``Lag`` sums up.

    Attributes:
        basis: The source of ``left_records``, a value of ``consumer.autoscaling.lag.LagBasis``.
        replica: The consumer that it is assigned to, if one reports it.
    """

    partition: int
    log_start: int
    log_end: int
    committed: int | None
    left_records: int
    blocked_records: int = 0
    basis: str = "committed"
    replica: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A service at one moment.

    Attributes:
        at_ms: When it was taken, by the clock of who took it (epoch milliseconds).
        routes: In the order of the settings.
        jobs: Those that are not finished, and then the last finished ones.
        unanswered: Who did not answer, a line each: what comes from there is missing.
    """

    at_ms: int
    routes: list[RouteOverview] = field(default_factory=list)
    models: list[ModelOverview] = field(default_factory=list)
    deployments: list[DeploymentOverview] = field(default_factory=list)
    jobs: list[JobOverview] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build from ``to_dict``'s values; the fields of a newer release are left out."""
        return msgspec.convert(values, cls)

    def route(self, name: str) -> RouteOverview | None:
        return next((each for each in self.routes if each.name == name), None)
