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
_VLLM_PREFIX = "vllm_"


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


_OF_ROUTE = ("route",)


def _counter(name: str, text: str, labels: tuple[str, ...] = _OF_ROUTE) -> Metric:
    return Metric(name, "counter", text, labels)


def _gauge(name: str, text: str, labels: tuple[str, ...] = _OF_ROUTE) -> Metric:
    return Metric(name, "gauge", text, labels)


def _histogram(name: str, text: str, labels: tuple[str, ...] = _OF_ROUTE) -> Metric:
    return Metric(name, "histogram", text, labels)


RECORDS = (
    _counter("received_records", "read from the requests topic"),
    _counter("completed_records", "ended in a result or dead letter that the brokers acknowledged"),
    _counter("answered_records", "answered by the model: a result without an error"),
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
    _counter("committed_transactions", "transactions that were committed"),
    _counter(
        "admission_closed_seconds", "time in which reading was paused, because enough is held"
    ),
)

VOLUMES = (
    _counter("received_bytes", "bytes of the records read: keys, values and headers"),
    _histogram("chunk_records", "records of a call to a model replica"),
)

PUBLISHING = (
    _counter("published_records", "records that brokers acknowledged: results and dead letters"),
    _counter("published_bytes", "bytes of their batches"),
    _histogram("published_batch_records", "records of such a batch"),
    _counter(
        "publish_retries",
        "batches, or transactions, that were sent again; a broker that is away causes them, and "
        "none is lost",
    ),
    _counter("replaced_producers", "producers given up because a batch's outcome was not known"),
)
"""What a consumer's sinks do."""

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
    _gauge("waiting_jobs", "jobs of which records are queued; a job counts in each consumer"),
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
    _gauge("event_loop_tasks", "asyncio tasks of the consumer's process"),
    _gauge(
        "tokens_per_record",
        "the mean of the measured records; the lag in tokens is the lag times this",
    ),
)

LAG = (
    _gauge(
        "lag_records", "offsets from the committed one to the log's end, as Kafka's tools count"
    ),
    _gauge("remaining_records", "those of them that are not complete"),
    _gauge(
        "remaining_tokens",
        "these in tokens, by the mean of the measured records; missing where nothing is measured",
    ),
    _gauge(
        "lag_seconds",
        "age, by its timestamp, of the oldest record that was read and has no outcome; or how long "
        "a record waits unread, if that is longer. 0: nothing waits",
    ),
    _gauge(
        "completion_map_ratio",
        "how full the completion map of the fullest partition may get, of what a commit can hold. "
        "From 1 on the partition is not read until its oldest record is complete",
    ),
    _gauge("full_map_partitions", "partitions that are not read for this reason"),
)
"""What a consumer's partitions have left, as sums over its partitions."""

_OF_MODEL = ("model",)

CALLS = (
    _counter("model_calls", "calls that consumers or pipelines have made", _OF_MODEL),
    _counter(
        "model_records",
        "records that went back to callers, by `outcome`: `answered`, `refused` (4xx), `expired`, "
        "`cancelled`, `failed`, `turned_away` (no room, or the replica stops)",
        (*_OF_MODEL, "outcome"),
    ),
    _gauge("model_in_flight_records", "records in the replica", _OF_MODEL),
    _gauge("model_window_records", "how many it grants its callers together", _OF_MODEL),
)
"""Of a model replica of any kind; a custom class that streams by itself grants its own windows."""

BATCHES = (
    _histogram("model_batch_rows", "texts of a batch", _OF_MODEL),
    _histogram("model_batch_tokens", "tokens of a batch, without padding", _OF_MODEL),
    _histogram("model_batch_seconds", "from a batch's start to its rows", _OF_MODEL),
    _histogram(
        "model_queue_seconds",
        "from the tokenizing of a text to the start of its batch",
        _OF_MODEL,
    ),
    _histogram(
        "model_tokenizing_seconds",
        "of checking and tokenizing up to 64 records of a call",
        _OF_MODEL,
    ),
    _counter("model_texts", "texts that batches computed", _OF_MODEL),
    _counter("model_tokens", "their tokens", _OF_MODEL),
    _counter("model_padding_tokens", "tokens of padding that batches computed beside", _OF_MODEL),
    _counter("model_truncated_texts", "texts that were cut to the model's length", _OF_MODEL),
    _counter(
        "model_split_batches", "batches that ran out of memory, and were run in parts", _OF_MODEL
    ),
    _counter(
        "model_busy_seconds", "time in which a batch ran; its rate is the busy share", _OF_MODEL
    ),
    _gauge("model_waiting_texts", "texts in the pool, for the next batches", _OF_MODEL),
    _gauge("model_waiting_tokens", "their tokens", _OF_MODEL),
    _gauge("model_token_budget_tokens", "the most tokens of a batch, with padding", _OF_MODEL),
)
"""Of what runs batches: embedders, classifiers, rerankers on any backend, and batched classes."""

PIPELINES = (
    _histogram(
        "pipeline_step_seconds",
        "from a call of a `step` to each answer of it; `model` is the pipeline",
        (*_OF_MODEL, "step"),
    ),
    _gauge(
        "pipeline_waiting_requests",
        "requests that wait for room at the model that the label `called` names",
        (*_OF_MODEL, "called"),
    ),
)

GENERATORS = (
    _gauge("generator_slots", "sequences that run together at most (`max_num_seqs`)", _OF_MODEL),
)
"""Of a generator, beside what vLLM reports itself."""

_OF_GPU = ("model", "gpu")

GPUS = (
    _gauge("gpu_utilization_ratio", "share of the last second in which a kernel ran", _OF_GPU),
    _gauge("gpu_memory_used_bytes", "of all processes on the GPU", _OF_GPU),
    _gauge("gpu_memory_total_bytes", "of the GPU", _OF_GPU),
)
"""Of the GPUs that Ray gave a replica, by NVML; missing without GPUs."""

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

CONSUMER = (*RECORDS, *VOLUMES, *EVENTS, *PUBLISHING, *TIMES, *STATE, *LAG)
"""Each has the label ``route``; Ray adds those of the replica."""

MODEL = (*CALLS, *BATCHES, *PIPELINES, *GENERATORS, *GPUS)
"""Each has the label ``model``; a replica exports those that its kind has."""

TRACE_SPANS = Metric(
    "trace_spans",
    "counter",
    "spans of [traces](tracing.md), by `outcome`: `sent` to the collector, `failed` there, or "
    "`dropped` because more waited than the queue holds",
    ("outcome",),
)
TRACING = (TRACE_SPANS,)
"""Of every replica that traces; Ray adds the labels of its deployment."""

ALL = (*CONSUMER, *MODEL, *AUTOSCALING, *TRACING)
_BY_NAME = {each.name: each for each in ALL}


def metric(name: str) -> Metric:
    """Return a metric by its name here, without a prefix; raises ``KeyError``."""
    return _BY_NAME[name]


@dataclass(frozen=True, slots=True)
class VllmMetric:
    """A metric of vLLM's own, which its engine exports through Ray unless ``disable_log_stats``.

    The labels are vLLM's ``model_name`` (the first served name) and ``engine``, and ``ReplicaId``.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str

    @property
    def exported(self) -> str:
        """The name of the series; of a histogram, which is Ray's own, that of its buckets."""
        name = f"{_EXPORTED_PREFIX}{_VLLM_PREFIX}{self.name}"
        if self.kind == "gauge":
            return name
        return f"{name}_bucket" if self.kind == "histogram" else f"{name}_total"


VLLM = (
    VllmMetric("num_requests_running", "gauge", "requests that generate"),
    VllmMetric("num_requests_waiting", "gauge", "requests that wait for a slot or for memory"),
    VllmMetric("kv_cache_usage_perc", "gauge", "share of the KV cache in use, from 0 to 1"),
    VllmMetric("prompt_tokens", "counter", "tokens read"),
    VllmMetric("generation_tokens", "counter", "tokens generated"),
    VllmMetric("request_success", "counter", "requests that ended, by `finished_reason`"),
    VllmMetric("num_preemptions", "counter", "requests put back for want of memory"),
    VllmMetric("prefix_cache_queries", "counter", "tokens looked up in the prefix cache"),
    VllmMetric("prefix_cache_hits", "counter", "tokens found there"),
    VllmMetric("time_to_first_token_seconds", "histogram", "from a request to its first token"),
    VllmMetric("inter_token_latency_seconds", "histogram", "from one token to the next"),
    VllmMetric(
        "request_time_per_output_token_seconds", "histogram", "the mean of that over a request"
    ),
    VllmMetric("request_queue_time_seconds", "histogram", "of waiting for a slot"),
    VllmMetric("e2e_request_latency_seconds", "histogram", "from a request to its last token"),
)
"""Those of vLLM's metrics that the dashboard shows. It exports more."""

_VLLM_BY_NAME = {each.name: each for each in VLLM}


def vllm_metric(name: str) -> VllmMetric:
    """Return a metric of vLLM's by its name without ``vllm:``; raises ``KeyError``."""
    return _VLLM_BY_NAME[name]
