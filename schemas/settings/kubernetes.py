"""What `headrace render` makes of the settings for Kubernetes: sizes, nodes, upgrades."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from schemas.settings.option_secrets import check_no_secrets
from schemas.settings.section import Section

KubernetesName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=253)
]
LabelKey = Annotated[
    str,
    StringConstraints(
        pattern=r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"
    ),
]
LabelValue = Annotated[
    str,
    StringConstraints(pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$", max_length=63),
]
Labels = dict[LabelKey, LabelValue]
Cidr = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F:.]+/\d{1,3}$")]
Port = Annotated[int, Field(ge=1, le=65_535)]
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
OWN_VARIABLES = ("HOME", "HF_HOME", "RAY_USAGE_STATS_ENABLED", "RAY_worker_niceness")
OWN_VARIABLES_PREFIX = "HEADRACE_"


class TolerationSettings(Section):
    """A taint that pods tolerate, as Kubernetes has it."""

    key: str | None = Field(default=None, description="Unset, with operator Exists: every taint.")
    operator: Literal["Equal", "Exists"] = Field(
        default="Equal", description="Exists: whatever the value."
    )
    value: str | None = Field(default=None, description="Of the taint; with operator Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Unset: every effect."
    )

    @model_validator(mode="after")
    def _as_kubernetes_takes_it(self) -> Self:
        if self.operator == "Exists" and self.value is not None:
            raise ValueError("value: operator Exists takes none; leave it out, or set Equal")
        if self.operator == "Equal" and self.key is None:
            raise ValueError("key: operator Equal needs one; set it, or operator: Exists")
        return self


class PodSettings(Section):
    """Size and nodes of a group of Ray's pods."""

    cpus: float | None = Field(
        default=None,
        gt=0,
        description="CPUs of a pod. A worker gets more where a replica reserves more.",
    )
    memory_gib: float | None = Field(
        default=None, gt=0, description="Memory of a pod, shared memory included."
    )
    shm_gib: float | None = Field(
        default=None,
        gt=0,
        description="Size of /dev/shm, for NCCL and Ray's object store. Unset: KubeRay mounts as "
        "much as the pod has memory.",
    )
    ephemeral_storage_gib: float | None = Field(
        default=None,
        gt=0,
        description="Local disk that a node must have free: logs, spilled objects, and weights "
        "that are not on a volume of their own.",
    )
    node_selector: Labels = Field(default={}, description="Labels that a node must have.")
    tolerations: tuple[TolerationSettings, ...] = Field(
        default=(), description="Taints of nodes that the pods tolerate."
    )
    runtime_class: KubernetesName | None = Field(
        default=None, description="The RuntimeClass, such as nvidia."
    )
    priority_class: KubernetesName | None = Field(default=None, description="The PriorityClass.")

    @model_validator(mode="after")
    def _shared_memory_is_memory(self) -> Self:
        if self.memory_gib is not None and (self.shm_gib or 0) >= self.memory_gib:
            raise ValueError("shm_gib: is part of the pod's memory; set less than memory_gib")
        return self


class HeadSettings(PodSettings):
    """Ray's head, on which no replica runs."""

    cpus: float = Field(default=2.0, gt=0, description="CPUs of the head.")
    memory_gib: float = Field(default=8.0, gt=0, description="Memory of the head.")
    is_evictable: bool = Field(
        default=False,
        description="true: a node may be drained of the head. Without gcs the whole service "
        "starts again then.",
    )


class KafkaNodesSettings(Section):
    """Size of Strimzi's nodes of one pool."""

    cpus: float = Field(default=1.0, gt=0, description="CPUs that a node requests.")
    memory_gib: float = Field(default=4.0, gt=0, description="Memory of a node.")
    storage_gib: int = Field(default=100, ge=1, description="Size of a node's volume.")
    storage_class: KubernetesName | None = Field(
        default=None, description="Of the volumes; unset: the cluster's own."
    )


class KafkaPodsSettings(Section):
    """Kafka, where it is rendered."""

    brokers: KafkaNodesSettings = Field(default=KafkaNodesSettings(), description="Brokers.")
    controllers: KafkaNodesSettings = Field(
        default=KafkaNodesSettings(storage_gib=10), description="KRaft controllers."
    )


class MonitoringSettings(Section):
    """PodMonitors and alerts for the Prometheus operator."""

    enabled: bool = Field(
        default=True, description="false: no PodMonitor and no PrometheusRule is rendered."
    )
    labels: Labels = Field(
        default={},
        description="More labels of PodMonitors and PrometheusRules. kube-prometheus-stack looks "
        "only at those that have the label release with its own release's name.",
    )


class EgressSettings(Section):
    """An address outside the cluster that pods may reach."""

    cidr: Cidr = Field(description="The addresses, as in 10.1.0.0/16.")
    ports: tuple[Port, ...] = Field(min_length=1, description="TCP.")


class NetworkSettings(Section):
    """What the NetworkPolicies let out, beyond what follows from the settings."""

    dns_cidrs: tuple[Cidr, ...] = Field(
        default=(),
        description="More addresses of DNS servers. kube-dns, OpenShift's and NodeLocal "
        "DNSCache's link-local address are let through anyway.",
    )
    egress: tuple[EgressSettings, ...] = Field(
        default=(), description="Other addresses that pods may reach."
    )


class SecretKeySettings(Section):
    """A key of a Kubernetes Secret."""

    secret: KubernetesName = Field(description="Name of the Secret.")
    key: str = Field(default="password", min_length=1, description="The key in it.")


class RedisSettings(Section):
    """A Redis that somebody else runs, in which Ray keeps its cluster's state."""

    backend: Literal["redis"] = Field(default="redis", description="A Redis.")
    address: str = Field(
        pattern=r"^(rediss?://)?[A-Za-z0-9.-]+:\d{1,5}$", description="HOST:PORT, or a redis URL."
    )
    username: SecretKeySettings | None = Field(default=None, description="The user, if any.")
    password: SecretKeySettings | None = Field(default=None, description="The password, if any.")

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])


class RocksDbSettings(Section):
    """A volume of the head's, in which Ray keeps its cluster's state."""

    backend: Literal["rocksdb"] = Field(description="A volume of the head's.")
    storage_gib: int = Field(default=10, ge=1, description="Size of the volume.")
    storage_class: KubernetesName | None = Field(
        default=None, description="Of the volume; unset: the cluster's own."
    )


GcsSettings = Annotated[RedisSettings | RocksDbSettings, Field(discriminator="backend")]


class IncrementalUpgradeSettings(Section):
    """How a second cluster takes over in steps."""

    gateway_class: KubernetesName = Field(
        description="A GatewayClass of the cluster: KubeRay makes a Gateway with it."
    )
    step_percent: int = Field(
        default=20, ge=1, le=100, description="What a step moves to the new cluster."
    )
    interval_s: int = Field(default=60, ge=1, description="Between two steps.")
    max_surge_percent: int = Field(
        default=20, ge=1, le=100, description="Replicas that both clusters have beyond 100 %."
    )


class UpgradeSettings(Section):
    """What a change of the manifests does to a service that runs."""

    settings: Literal["in_place", "new_cluster"] = Field(
        default="in_place",
        description="in_place: a change of the settings restarts what it concerns, in the pods "
        "that run. new_cluster: any change of the file starts a second cluster, which takes over.",
    )
    pods: Literal["new_cluster", "incremental", "none"] = Field(
        default="new_cluster",
        description="What a change of the pods does: new_cluster: a second cluster of full size "
        "takes over; incremental: in steps; none: nothing until the RayService is made anew.",
    )
    incremental: IncrementalUpgradeSettings | None = Field(
        default=None, description="The steps, with pods: incremental."
    )

    @model_validator(mode="after")
    def _steps_where_there_are_any(self) -> Self:
        if (self.pods == "incremental") != (self.incremental is not None):
            raise ValueError("incremental goes with pods: incremental; set both, or neither")
        return self


class KubernetesSettings(Section):
    """Only what `headrace render` writes depends on it; the service itself does not."""

    head: HeadSettings = Field(default=HeadSettings(), description="The pod of Ray's head.")
    cpu_pods: PodSettings = Field(
        default=PodSettings(), description="Pods for replicas without a GPU."
    )
    gpu_pods: PodSettings = Field(default=PodSettings(), description="Pods for replicas with GPUs.")
    kafka: KafkaPodsSettings = Field(
        default=KafkaPodsSettings(), description="Kafka's pods, where Kafka is rendered."
    )
    monitoring: MonitoringSettings = Field(
        default=MonitoringSettings(), description="PodMonitors and alerts."
    )
    network: NetworkSettings = Field(default=NetworkSettings(), description="NetworkPolicies.")
    gcs: GcsSettings | None = Field(
        default=None,
        description="Where Ray's head keeps the cluster's state, so that the replicas outlive it. "
        "Unset: in its memory.",
    )
    upgrade: UpgradeSettings = Field(
        default=UpgradeSettings(), description="What a change does to a service that runs."
    )
    environment: dict[VariableName, str | SecretKeySettings] = Field(
        default={},
        description="More environment variables of Ray's pods: a value, or a key of a Secret. For "
        "OpenTelemetry's (OTEL_...) and others that libraries read.",
    )

    @model_validator(mode="after")
    def _leaves_own_variables(self) -> Self:
        for name in self.environment:
            if name.startswith(OWN_VARIABLES_PREFIX):
                raise ValueError(
                    f"environment.{name}: put it into the settings themselves; variables that "
                    f"begin with {OWN_VARIABLES_PREFIX} are set by `headrace render`"
                )
            if name in OWN_VARIABLES:
                raise ValueError(
                    f"environment.{name}: `headrace render` sets it; patch it in an overlay"
                )
        plain = {name: each for name, each in self.environment.items() if isinstance(each, str)}
        check_no_secrets(
            plain,
            "environment",
            whose="the manifests",
            fix="name the key of a Secret that has it, {secret: NAME, key: KEY}",
        )
        return self
