"""The settings file, ``headrace.yaml``: Kafka, models, routes.

Frozen and keyword-only; an illegal value fails at construction with the field and the fix.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
TopicName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]

MIB = 1024 * 1024


class Section(BaseModel):
    """A part of the settings file: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class TlsSettings(Section):
    """TLS to the brokers; PEM files."""

    ca_file: Path | None = Field(
        default=None, description="CA certificates; the system's where unset."
    )
    cert_file: Path | None = Field(default=None, description="Client certificate, for mutual TLS.")
    key_file: Path | None = Field(default=None, description="Client key, for mutual TLS.")
    key_password: SecretStr | None = Field(default=None, description="Password of the client key.")
    check_hostname: bool = Field(
        default=True, description="Hold the certificate to the broker's name."
    )

    @model_validator(mode="after")
    def _key_with_certificate(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together: set both, or neither")
        return self


class SaslSettings(Section):
    """SASL authentication."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username: str
    password: SecretStr


class KafkaSettings(Section):
    """The cluster, and which local broker `headrace up` starts where there is none."""

    broker: Literal["embedded", "kafka-home", "docker", "external"] = Field(
        default="external",
        description="external: connect to bootstrap. The others start a local broker there: "
        "embedded (a wheel, for trying out), kafka-home ($KAFKA_HOME, Java 17), docker.",
    )
    bootstrap: str = Field(
        default="127.0.0.1:9092",
        pattern=r"^[^\s,:]+:\d+(,[^\s,:]+:\d+)*$",
        description="HOST:PORT, or several parted by commas.",
    )
    tls: TlsSettings | None = Field(default=None, description="Present: the connection uses TLS.")
    sasl: SaslSettings | None = Field(default=None, description="Present: we authenticate by SASL.")
    offset_metadata_max_bytes: int = Field(
        default=4096,
        ge=256,
        le=1_000_000,
        description="The brokers' offset.metadata.max.bytes: what the completion map may take.",
    )

    @model_validator(mode="after")
    def _local_brokers_are_plain(self) -> Self:
        if self.broker != "external" and (self.tls or self.sasl):
            raise ValueError(
                f"broker: a local {self.broker} broker has no tls and no sasl; remove both, "
                "or set broker to external"
            )
        return self

    @property
    def security_protocol(self) -> Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]:
        """The Kafka security protocol that tls and sasl add up to."""
        if self.sasl is not None:
            return "SASL_SSL" if self.tls is not None else "SASL_PLAINTEXT"
        return "SSL" if self.tls is not None else "PLAINTEXT"


class ReplicaSettings(Section):
    """How Ray Serve runs a model's replicas."""

    replicas: int = Field(default=1, ge=1, le=10_000)
    num_cpus: float = Field(
        default=1.0, ge=0, description="Logical CPUs that Ray sets aside for each."
    )
    num_gpus: float = Field(default=0.0, ge=0, description="GPUs for each; fractions share one.")
    max_ongoing_requests: int = Field(
        default=1024,
        ge=1,
        description="Handle calls (of a chunk of records each) that one replica takes at a time.",
    )
    health_check_period_s: float = Field(default=10.0, gt=0)
    health_check_timeout_s: float = Field(default=30.0, gt=0)
    graceful_shutdown_timeout_s: float = Field(default=60.0, gt=0)


class EmbedderSettings(ReplicaSettings):
    """A sentence-transformers model that answers /v1/embeddings."""

    kind: Literal["embedder"]
    source: str = Field(
        description="wheel:DISTRIBUTION, hub:ORG/NAME[@REVISION] or path:/DIR; safetensors only.",
        pattern=r"^(wheel|hub|path):.+$",
    )
    served_names: tuple[str, ...] = Field(
        default=(), description="Names besides the settings' own that body.model may carry."
    )
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$")
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    threads: int | None = Field(
        default=None, ge=1, description="CPU threads in all; num_cpus where unset."
    )
    parallel_batches: int | None = Field(
        default=None,
        ge=1,
        description="Batches that run at a time and share the threads. Unset: on a CPU one for "
        "each thread, up to 8; elsewhere 1.",
    )
    token_budget_tokens: int | None = Field(
        default=None,
        ge=16,
        description="The most that rows times longest text may be in one batch. Unset: 1024 on a "
        "CPU, 16384 elsewhere.",
    )
    max_batch_texts: int = Field(default=256, ge=1, description="The most rows in one batch.")
    max_wait_ms: float = Field(
        default=500.0,
        gt=0,
        description="A text that has waited this long goes into the next batch, ideal or not.",
    )
    pool_texts: int = Field(
        default=2048,
        ge=1,
        description="Texts that a replica keeps waiting, to cut even batches from.",
    )
    outcome_linger_ms: float = Field(
        default=10.0, ge=0, description="How long outcomes gather before they are streamed back."
    )
    max_seq_length_tokens: int | None = Field(
        default=None, ge=1, description="The model's own where unset."
    )
    max_inputs_per_request: int = Field(default=2048, ge=1)
    normalize: bool = True
    prompts: dict[str, str] = Field(
        default_factory=dict,
        description="Prompts by name, e.g. query and document; adds to the model's own.",
    )
    default_prompt_name: str | None = None

    @property
    def endpoints(self) -> frozenset[str]:
        """The urls that it answers."""
        return frozenset({"/v1/embeddings"})

    @property
    def work_field(self) -> str | None:
        """None: the replica's pool of texts orders by length itself."""
        return None


class CustomModelSettings(ReplicaSettings):
    """Any class with the method of ``schemas.handoff.ChunkModel``."""

    kind: Literal["custom"]
    import_path: str = Field(pattern=r"^[\w.]+:\w+$", description="MODULE:CLASS.")
    options: dict[str, Any] = Field(
        default_factory=dict, description="Keyword arguments of the class."
    )
    urls: tuple[str, ...] = Field(min_length=1, description="The endpoints that it answers.")
    work_field: str | None = Field(
        default=None,
        description="A numeric body field that says how much work a request is, e.g. max_tokens: "
        "of the requests that wait, the longest then go first.",
    )

    @property
    def endpoints(self) -> frozenset[str]:
        """The urls that it answers."""
        return frozenset(self.urls)


ModelSettings = Annotated[EmbedderSettings | CustomModelSettings, Field(discriminator="kind")]


class FlowSettings(Section):
    """What bounds a consumer replica's memory: in flight plus queued."""

    max_records: int = Field(default=16_384, ge=1)
    max_bytes: int = Field(default=64 * MIB, ge=1024)
    chunk_records: int = Field(
        default=256, ge=1, description="The most records in one handle call."
    )
    fetch_max_bytes: int = Field(default=16 * MIB, ge=1024)
    max_partition_fetch_bytes: int = Field(default=MIB, ge=1024)


class GroupSettings(Section):
    """Membership in the consumer group."""

    session_timeout_ms: int = Field(default=10_000, ge=1_000)
    heartbeat_interval_ms: int = Field(default=3_000, ge=100)
    rebalance_timeout_ms: int = Field(
        default=30_000,
        ge=2_000,
        description="Also the budget to publish and commit when partitions go.",
    )

    @model_validator(mode="after")
    def _several_heartbeats(self) -> Self:
        if self.heartbeat_interval_ms * 2 > self.session_timeout_ms:
            raise ValueError("heartbeat_interval_ms must be at most half of session_timeout_ms")
        return self


class RetrySettings(Section):
    """What happens to a record whose model replica was lost or failed."""

    max_attempts: int = Field(default=5, ge=1)
    first_backoff_ms: float = Field(default=200.0, gt=0)
    max_backoff_ms: float = Field(default=30_000.0, gt=0)


class LimitSettings(Section):
    """Size limits on what comes in and goes out, in bytes of a record's value."""

    max_request_bytes: int = Field(default=MIB, ge=64)
    max_result_bytes: int = Field(default=MIB, ge=1024)


class TopicSettings(Section):
    """How topics are created where they are missing."""

    partitions: int = Field(default=4, ge=1)
    replication_factor: int = Field(default=1, ge=1)


class RouteSettings(Section):
    """One requests topic, its results and dead letters, and the model between."""

    model: Name = Field(description="A key of models.")
    requests_topic: TopicName
    results_topic: TopicName
    dead_letters_topic: TopicName
    group: str = Field(min_length=1, max_length=249, description="The consumer group.")
    consumers: int = Field(default=1, ge=1, description="Consumer replicas.")
    consumer_num_cpus: float = Field(default=0.5, ge=0)
    delivery: Literal["at_least_once"] = "at_least_once"
    commit_interval_ms: float = Field(default=500.0, ge=0)
    drain_timeout_s: float = Field(default=30.0, gt=0)
    fail_with_result: bool = Field(
        default=True,
        description="A dead letter that has a custom_id also gives a result with its error.",
    )
    start_from: Literal["earliest", "latest"] = "earliest"
    flow: FlowSettings = FlowSettings()
    membership: GroupSettings = GroupSettings()
    retry: RetrySettings = RetrySettings()
    limits: LimitSettings = LimitSettings()
    topics: TopicSettings = TopicSettings()

    @model_validator(mode="after")
    def _distinct_topics(self) -> Self:
        topics = {self.requests_topic, self.results_topic, self.dead_letters_topic}
        if len(topics) < 3:
            raise ValueError(
                "requests_topic, results_topic and dead_letters_topic must differ: "
                "a service that reads what it writes never ends"
            )
        return self


class Settings(Section):
    """All of ``headrace.yaml``."""

    kafka: KafkaSettings = KafkaSettings()
    models: dict[Name, ModelSettings] = Field(min_length=1)
    routes: dict[Name, RouteSettings] = Field(min_length=1)

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
            if model.graceful_shutdown_timeout_s < route.drain_timeout_s:
                raise ValueError(
                    f"models.{route.model}.graceful_shutdown_timeout_s: must be at least the "
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
        return self
