"""The metrics that Headrace exports: one table, from which code, alerts and docs take the names.

Ray exports them to Prometheus. It puts ``ray_`` before a name, and ``_total`` behind a counter's.
Ray's own histograms cost a call a value, here and in its agent. So a histogram is exported as
counters, with cumulative counts by the label ``le`` as Prometheus has them; ``histogram_quantile``
takes them.
"""

from dataclasses import dataclass
from typing import Literal

PREFIX = "headrace_"
_EXPORTED_PREFIX = "ray_"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; ``name`` ends with its unit.

    Attributes:
        labels: Each has few values: what is unbounded (a job, a tenant, a topic of a request) is
            no label.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ("route",)

    @property
    def registered(self) -> str:
        """The name that Ray is given."""
        return PREFIX + self.name

    @property
    def exported(self) -> str:
        """The name of the series in Prometheus; of a histogram, that of its buckets."""
        name = _EXPORTED_PREFIX + self.registered
        if self.kind == "gauge":
            return name
        return f"{name}_bucket_total" if self.kind == "histogram" else f"{name}_total"


def _counter(name: str, text: str) -> Metric:
    return Metric(name, "counter", text)


def _gauge(name: str, text: str) -> Metric:
    return Metric(name, "gauge", text)


def _histogram(name: str, text: str) -> Metric:
    return Metric(name, "histogram", text)


RECORDS = (
    _counter("received_records", "read from the requests topic"),
    _counter("completed_records", "ended in a result or dead letter that the brokers acknowledged"),
    _counter("dead_letter_records", "dead-lettered"),
    _counter("expired_records", "answered `request_expired`"),
    _counter("cancelled_records", "answered `request_cancelled`"),
    _counter("refused_records", "answered 4xx"),
    _counter("retried_records", "dispatched again after a failure, each time"),
    _counter("skipped_records", "tombstones"),
    _counter(
        "lost_to_retention_records",
        "deleted by `retention.ms` or `retention.bytes` of the requests topic before they were "
        "read. Counted by offsets, so an upper bound. The log names the partition and the offsets.",
    ),
    _counter("measured_records", "answered by a model that counts tokens"),
    _counter("measured_tokens", "tokens of those records, read and generated"),
)
"""Records of a consumer, by what happened to them."""

EVENTS = (
    _counter("assignments", "rebalances of the group that a consumer came through"),
    _counter("commits", "commits of offsets, or transactions with them"),
    _counter("refused_commits", "commits that the group refused, as it had moved on"),
    _counter(
        "aborted_transactions",
        "transactions given up: a fenced consumer's, or one with a record that its topic refused",
    ),
)

TIMES = (
    _histogram("waiting_seconds", "from the reading of a record to its first call"),
    _histogram("model_seconds", "from a call to each answer of a record"),
    _histogram("publishing_seconds", "from a decided outcome to its acknowledgement"),
    _histogram(
        "end_to_end_seconds",
        "from a record's timestamp to the acknowledgement of its outcome, by the clocks of "
        "producer (or broker) and consumer",
    ),
    _histogram("committing_seconds", "of a commit of offsets, or of a transaction"),
)

STATE = (
    _gauge("in_flight_records", "records handed to model replicas and not answered"),
    _gauge("queued_records", "records read and not yet handed over"),
    _gauge("held_records", "records in memory without an acknowledged outcome"),
    _gauge("held_bytes", "bytes of those, with their outcomes"),
    _gauge("oldest_record_seconds", "since the oldest record without an outcome was read; 0: none"),
    _gauge("assigned_partitions", "assigned partitions"),
    _gauge("admission_closed", "1 while reading is paused, because enough is held"),
    _gauge("breaker_open", "1 while the model is given a rest after failures"),
    _gauge("suspended", "1 while nothing is read or called: the group rebalances"),
    _gauge("model_replicas", "model replicas that have answered lately"),
    _gauge("paused_seconds", "since a person paused the route; 0 while it is not paused"),
    _gauge("rate_limited", "1 while a limit on the route's rate holds records back"),
    _gauge(
        "tokens_per_record",
        "the mean of the measured records; the lag in tokens is the lag times this",
    ),
)

_OF_DEPLOYMENT = ("deployment",)


def _scaling(name: str, text: str) -> Metric:
    return Metric(f"autoscaling_{name}", "gauge", text, _OF_DEPLOYMENT)


AUTOSCALING = (
    _scaling("target", "replicas to have"),
    _scaling("wanted", "replicas that the backlog asks for, before clamps"),
    _scaling("remaining_records", "records that are not done"),
    _scaling("remaining_s", "how long they take what runs; -1 where it is not known"),
    _scaling("remaining_tokens", "those records in tokens, by the measured mean; 0 without one"),
    _scaling("ongoing_calls", "calls that Serve's handles count, queued ones included"),
    _scaling("oldest_s", "how long the oldest of them has waited"),
    _scaling("arrival_records_per_s", "the usual arrival rate"),
    _scaling("replica_records_per_s", "what one replica does; 0 where it is not known"),
    _scaling("cold_start_s", "how long a replica takes to start"),
    _scaling("held", "1 where the lag is not known and the target is held"),
    Metric(
        "autoscaling_clamped",
        "gauge",
        "1 for what kept the target from what was wanted, 0 for the others",
        (*_OF_DEPLOYMENT, "clamp"),
    ),
)
"""The last decision on a deployment's replicas, by Serve's controller."""

CONSUMER = (*RECORDS, *EVENTS, *TIMES, *STATE)
"""Each has the label ``route``; Ray adds those of the replica."""

ALL = (*CONSUMER, *AUTOSCALING)
_BY_NAME = {each.name: each for each in ALL}


def metric(name: str) -> Metric:
    """Return a metric by its name here, without a prefix; raises ``KeyError``."""
    return _BY_NAME[name]
