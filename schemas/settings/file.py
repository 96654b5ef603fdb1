"""The settings file, ``headrace.yaml``: Kafka, models, routes."""

from typing import Literal, Self

from pydantic import Field, field_serializer, field_validator, model_validator

from schemas.names import Name, ReplyTopicPattern, TopicName
from schemas.settings.alerts import AlertSettings
from schemas.settings.autoscaling import ConsumerAutoscalingSettings
from schemas.settings.console import ConsoleSettings
from schemas.settings.jobs import JobsSettings
from schemas.settings.kafka import KafkaSettings, OAuthSettings, SaslSettings, TlsSettings
from schemas.settings.kubernetes import KubernetesSettings
from schemas.settings.logs import LoggingSettings
from schemas.settings.models import ModelSettings
from schemas.settings.pipeline_checks import check_pipelines, models_behind
from schemas.settings.placement import PlacementSettings
from schemas.settings.reply_checks import check_patterns, check_reply_topics
from schemas.settings.section import Section
from schemas.settings.tracing import TracingSettings
from schemas.settings.weights import WeightsSettings
from schemas.wire.references import check_prefix
from schemas.wire.reply_topics import is_prefix

__all__ = [
    "ClaimCheckSettings",
    "FlowSettings",
    "GroupSettings",
    "KafkaSettings",
    "LimitSettings",
    "OAuthSettings",
    "RetrySettings",
    "RouteSettings",
    "SaslSettings",
    "Settings",
    "TlsSettings",
    "TopicSettings",
    "TransactionSettings",
]

MIB = 1024 * 1024


class FlowSettings(Section):
    """What bounds a consumer replica's memory: in flight plus queued."""

    max_records: int = Field(
        default=16_384,
        ge=1,
        description="The most records that a consumer holds without an acknowledged outcome.",
    )
    max_bytes: int = Field(
        default=64 * MIB,
        ge=1024,
        description="The most bytes of those records and their outcomes; beyond it reading pauses.",
    )
    chunk_records: int = Field(
        default=256, ge=1, description="The most records in one handle call."
    )
    fetch_max_bytes: int = Field(
        default=16 * MIB, ge=1024, description="The most bytes that a broker sends in one answer."
    )
    max_partition_fetch_bytes: int = Field(
        default=MIB,
        ge=1024,
        description="The most bytes of one partition in an answer; a larger record comes alone.",
    )
    max_batch_bytes: int = Field(
        default=256 * MIB,
        ge=MIB,
        description="The most bytes that a compressed batch of requests may unpack to; its records "
        "are dead letters where it is more.",
    )
    max_records_per_s: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="The most records that the route, with all its consumers, hands to its model a "
        "second; unset: no limit.",
    )
    max_tokens_per_s: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="The same in tokens, read and generated, by what records are measured to take; "
        "for models that count tokens.",
    )


class GroupSettings(Section):
    """Membership in the consumer group."""

    session_timeout_ms: int = Field(
        default=10_000,
        ge=1_000,
        description="After so long without a heartbeat the group gives a consumer's partitions to "
        "others.",
    )
    heartbeat_interval_ms: int = Field(
        default=3_000, ge=100, description="Between two heartbeats; at most half of the session."
    )
    rebalance_timeout_ms: int = Field(
        default=30_000,
        ge=2_000,
        description="How long a rebalance waits for a member; 60 % of it is the time to "
        "publish and "
        "commit when partitions go.",
    )
    static: bool = Field(
        default=True,
        description="Each consumer replica keeps its partitions through a restart shorter than "
        "the session timeout (static membership by the replica's rank).",
    )

    @model_validator(mode="after")
    def _several_heartbeats(self) -> Self:
        if self.heartbeat_interval_ms * 2 > self.session_timeout_ms:
            raise ValueError("heartbeat_interval_ms must be at most half of session_timeout_ms")
        return self


class RetrySettings(Section):
    """What happens to a record whose model replica was lost or failed."""

    on: frozenset[Literal["model_error", "replica_lost"]] = Field(
        default=frozenset({"model_error", "replica_lost"}),
        description="Failures after which a record is tried again: model_error (the model failed "
        "on it), replica_lost (its replica was gone before it answered). Others are given up at "
        "once. A model that says it has no room (503) is asked again whatever stands here.",
    )
    max_attempts: int = Field(
        default=5,
        ge=1,
        description="Failed attempts that count against a record before it is dead-lettered.",
    )
    first_backoff_ms: float = Field(
        default=200.0, gt=0, description="Bound of the first pause; it doubles with each attempt."
    )
    max_backoff_ms: float = Field(
        default=30_000.0, gt=0, description="The most that the bound of a pause grows to."
    )
    attempt_timeout_s: float | None = Field(
        default=None,
        gt=0,
        description="How long a call may send nothing after a model replica has taken it; then its "
        "unanswered records count as replica_lost and go again. Longer than the longest record "
        "takes. Left out: four times the longest silence of the last hour or two, 1800 s at "
        "least, twice that after each timeout of a record (up to four times).",
    )

    @field_serializer("on", when_used="json")
    def _in_order(self, on: frozenset[str]) -> list[str]:
        # A set's order differs between processes: it would look like a change.
        return sorted(on)


class LimitSettings(Section):
    """Size limits on what comes in and goes out, in bytes of a record's value."""

    max_request_bytes: int = Field(
        default=MIB,
        ge=64,
        description="The most bytes of a request; larger ones are dead letters, with a "
        "result if the "
        "custom_id is at the head of the value.",
    )
    max_result_bytes: int = Field(
        default=MIB,
        ge=1024,
        description="The most bytes of a result; in place of a larger one comes the error "
        "result_too_large. The topic's max.message.bytes limits it too.",
    )


class TransactionSettings(Section):
    """Kafka transactions of a route whose delivery is exactly_once."""

    linger_ms: float = Field(
        default=50.0,
        ge=0,
        description="How long finished results of a partition gather before they are committed "
        "together; 0 commits again as soon as the last transaction has ended.",
    )
    timeout_ms: int = Field(
        default=60_000,
        ge=1_000,
        le=900_000,
        description="After this the brokers abort a transaction whose consumer has fallen silent; "
        "at most their transaction.max.timeout.ms.",
    )


class ClaimCheckSettings(Section):
    """Bodies too large for a topic: kept in an object store, with a reference on the topic."""

    store: str = Field(
        pattern=r"^[a-z][a-z0-9+.-]*://.+$",
        description="URL under which results are stored, as fsspec knows it: "
        "file:///srv/headrace/results, s3://bucket/prefix.",
    )
    over_bytes: int | None = Field(
        default=None,
        ge=1024,
        description="Result lines above this go to the store; unset: what the results topic and "
        "the client take.",
    )
    request_prefixes: tuple[str, ...] = Field(
        default=(),
        description="URLs under which a request's body may lie; empty: no request may be a "
        "reference.",
    )
    max_object_bytes: int = Field(
        default=64 * MIB, ge=1024, description="The most bytes of one stored body."
    )
    give_up_after_s: float = Field(
        default=300.0,
        ge=0,
        description="A body on which the store has failed for so long makes its record a dead "
        "letter.",
    )

    @field_validator("store")
    @classmethod
    def _plain_store(cls, url: str) -> str:
        return check_prefix(url)

    @field_validator("request_prefixes")
    @classmethod
    def _plain_prefixes(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_prefix(url) for url in urls)


class TopicSettings(Section):
    """How topics are created where they are missing."""

    partitions: int = Field(
        default=4, ge=1, description="Of each topic: the most consumers that can share the work."
    )
    replication_factor: int = Field(
        default=1,
        ge=1,
        description="Brokers that keep each partition; 3 in production. With 1, a topic whose "
        "min.insync.replicas is 2 takes nothing.",
    )


class RouteSettings(Section):
    """One requests topic, its results and dead letters, and the model between."""

    model: Name = Field(description="A key of models.")
    requests_topic: TopicName = Field(
        description="Where requests come from. Routes that read the same one need groups and "
        "results "
        "topics of their own."
    )
    results_topic: TopicName = Field(description="Where results go.")
    dead_letters_topic: TopicName = Field(description="Where records go that are given up.")
    control_topic: TopicName | None = Field(
        default=None, description="Where `headrace cancel` says what is to be stopped."
    )
    reply_topics: tuple[ReplyTopicPattern, ...] = Field(
        default=(),
        description="Topics that a request may name for its result, in the header "
        "headrace-reply-topic: whole names, and prefixes that end with *. Empty: none.",
    )
    group: str = Field(
        min_length=1,
        max_length=249,
        description="The consumer group; no other program may be in it.",
    )
    consumers: int = Field(
        default=1,
        ge=1,
        description="Consumer replicas; more than the topic has partitions are idle. With "
        "autoscaling: to start with, where it is set; else min_replicas.",
    )
    autoscaling: ConsumerAutoscalingSettings | None = Field(
        default=None, description="Unset: always as many consumers as consumers says."
    )
    consumer_num_cpus: float = Field(
        default=0.5, ge=0, description="Logical CPUs that Ray reserves for each consumer."
    )
    placement: PlacementSettings = Field(
        default=PlacementSettings(), description="Where its consumers may run."
    )
    delivery: Literal["at_least_once", "exactly_once"] = Field(
        default="at_least_once",
        description="exactly_once: results, dead letters and offsets in one Kafka transaction; a "
        "reader with isolation.level=read_committed sees each result once.",
    )
    ordering: Literal["none", "key", "partition"] = Field(
        default="none",
        description="key, partition: a record waits until the earlier ones of its key (or of its "
        "partition) have their outcomes, through their retries too.",
    )
    commit_interval_ms: float = Field(
        default=100.0,
        ge=0,
        description="Between two commits of offsets; 0 commits again when the last has ended.",
    )
    drain_timeout_s: float = Field(
        default=30.0,
        gt=0,
        description="How long a consumer that stops waits for what is in flight. The rest is "
        "computed again.",
    )
    fail_with_result: bool = Field(
        default=True,
        description="A dead letter that has a custom_id also gives a result with its error. (An "
        "invalid line with a custom_id is no dead letter: it is answered with 400.)",
    )
    start_from: Literal["earliest", "latest"] = Field(
        default="earliest",
        description="Where a group begins that has committed nothing on the topic. latest: the end "
        "of all partitions at once, which is committed before anything is read.",
    )
    requests_format: Literal["json", "confluent-json"] = Field(
        default="json",
        description="confluent-json: values of requests begin with a schema registry's frame (a "
        "zero byte, four bytes of a schema's id), which is skipped; values without one are taken "
        "too. Results are plain JSON.",
    )
    flow: FlowSettings = Field(
        default=FlowSettings(), description="What bounds a consumer's memory."
    )
    membership: GroupSettings = Field(
        default=GroupSettings(), description="Membership in the consumer group."
    )
    retry: RetrySettings = Field(
        default=RetrySettings(), description="What happens to a record after a failure."
    )
    limits: LimitSettings = Field(default=LimitSettings(), description="Sizes of records.")
    transactions: TransactionSettings = Field(
        default=TransactionSettings(), description="Of delivery: exactly_once."
    )
    claim_check: ClaimCheckSettings | None = Field(
        default=None, description="Where bodies lie that are too large for a topic. Unset: nowhere."
    )
    topics: TopicSettings = Field(
        default=TopicSettings(), description="How missing topics are created."
    )
    alerts: AlertSettings = Field(
        default=AlertSettings(), description="When alerts of the route fire."
    )

    @field_validator("reply_topics")
    @classmethod
    def _legal_patterns(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        return check_patterns(patterns)

    @property
    def named_reply_topics(self) -> tuple[str, ...]:
        """Those of ``reply_topics`` that are whole names."""
        return tuple(each for each in self.reply_topics if not is_prefix(each))

    @property
    def all_topics(self) -> tuple[str | None, ...]:
        return (
            self.requests_topic,
            self.results_topic,
            self.dead_letters_topic,
            self.control_topic,
        )

    @property
    def sets_consumers(self) -> bool:
        return "consumers" in self.model_fields_set

    @model_validator(mode="after")
    def _distinct_topics(self) -> Self:
        topics = {self.requests_topic, self.results_topic, self.dead_letters_topic}
        if len(topics) < 3:
            raise ValueError(
                "requests_topic, results_topic and dead_letters_topic must differ: "
                "a service that reads what it writes never ends"
            )
        if self.control_topic in topics:
            raise ValueError("control_topic must differ from the route's other topics")
        return self


class Settings(Section):
    """All of ``headrace.yaml``."""

    kafka: KafkaSettings = Field(default=KafkaSettings(), description="The Kafka cluster.")
    results_kafka: KafkaSettings | None = Field(
        default=None,
        description="The cluster of results, dead letters and reply topics, where it is another "
        "one than that of the requests.",
    )
    models: dict[Name, ModelSettings] = Field(min_length=1, description="Models, by name.")
    routes: dict[Name, RouteSettings] = Field(min_length=1, description="Routes, by name.")
    jobs: JobsSettings = Field(default=JobsSettings(), description="The registry of jobs.")
    weights: WeightsSettings = Field(
        default=WeightsSettings(), description="Where the models' weights are kept."
    )
    tracing: TracingSettings = Field(
        default=TracingSettings(), description="Traces of records, by OpenTelemetry."
    )
    console: ConsoleSettings = Field(
        default=ConsoleSettings(), description="The page that shows the service."
    )
    kubernetes: KubernetesSettings = Field(
        default=KubernetesSettings(), description="What `headrace render` writes."
    )
    logging: LoggingSettings = Field(
        default=LoggingSettings(), description="What the service writes to its logs."
    )

    def models_behind(self, model: str) -> tuple[str, ...]:
        return models_behind(self.models, model)

    @property
    def called_models(self) -> dict[str, ModelSettings]:
        """The models that the routes need, by name; others are not deployed."""
        names = {name for route in self.routes.values() for name in self.models_behind(route.model)}
        return {name: model for name, model in self.models.items() if name in names}

    @property
    def results_cluster(self) -> KafkaSettings:
        """Where results, dead letters and replies go."""
        return self.kafka if self.results_kafka is None else self.results_kafka

    @model_validator(mode="after")
    def _clusters_fit(self) -> Self:
        if self.results_kafka is None:
            return self
        if self.results_kafka.broker != "external":
            raise ValueError(
                "results_kafka.broker: only kafka may be a local broker; set it to external"
            )
        for name, route in self.routes.items():
            if route.delivery == "exactly_once":
                raise ValueError(
                    f"routes.{name}.delivery: exactly_once cannot be kept with results_kafka, as a "
                    "Kafka transaction lives in one cluster; set at_least_once, or remove "
                    "results_kafka"
                )
        return self

    @model_validator(mode="after")
    def _pipelines_fit_their_models(self) -> Self:
        check_pipelines(self.models)
        return self

    @model_validator(mode="after")
    def _jobs_have_their_topic(self) -> Self:
        for name, route in self.routes.items():
            if self.jobs.topic in route.all_topics:
                raise ValueError(
                    f"jobs.topic: {self.jobs.topic} is a topic of route '{name}'; the registry of "
                    "jobs needs one of its own"
                )
        return self

    @model_validator(mode="after")
    def _routes_fit_together(self) -> Self:
        readers: dict[tuple[str, str], str] = {}
        writers: dict[tuple[str, str], str] = {}
        for name, route in self.routes.items():
            model = self.models.get(route.model)
            if model is None:
                known = ", ".join(sorted(self.models))
                raise ValueError(
                    f"routes.{name}.model: no model '{route.model}'; models has: {known}"
                )
            for called in self.models_behind(route.model):
                if self.models[called].graceful_shutdown_timeout_s < route.drain_timeout_s:
                    raise ValueError(
                        f"models.{called}.graceful_shutdown_timeout_s: must be at least the "
                        f"{route.drain_timeout_s} s of routes.{name}.drain_timeout_s, or a stop "
                        "ends the model before the work in flight"
                    )
            reader = (route.group, route.requests_topic)
            if reader in readers:
                raise ValueError(
                    f"routes.{name}.group: route '{readers[reader]}' reads {route.requests_topic} "
                    f"in the same group '{route.group}'; give each route a group of its own"
                )
            readers[reader] = name
            writer = (route.requests_topic, route.results_topic)
            if writer in writers:
                raise ValueError(
                    f"routes.{name}.results_topic: route '{writers[writer]}' answers the same "
                    f"{route.requests_topic} there, and the ids of their results would collide; "
                    "give each route a results topic of its own"
                )
            writers[writer] = name
        check_reply_topics(self.routes, self.jobs.topic)
        return self
