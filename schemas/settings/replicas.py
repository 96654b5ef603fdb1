"""What all kinds of models have in common in the settings."""

from pydantic import Field

from schemas.settings.autoscaling import AutoscalingSettings
from schemas.settings.placement import PlacementSettings
from schemas.settings.section import Section


class ReplicaSettings(Section):
    """How Ray Serve runs a model's replicas."""

    replicas: int = Field(
        default=1,
        ge=1,
        le=10_000,
        description="With autoscaling: to start with, where it is set; else min_replicas.",
    )
    autoscaling: AutoscalingSettings | None = Field(
        default=None, description="Unset: always as many as replicas says."
    )
    num_cpus: float = Field(
        default=1.0, ge=0, description="Logical CPUs that Ray reserves for each replica."
    )
    num_gpus: float = Field(default=0.0, ge=0, description="GPUs for each; fractions share one.")
    placement: PlacementSettings = Field(
        default=PlacementSettings(), description="Where its replicas may run."
    )
    max_ongoing_requests: int = Field(
        default=1024,
        ge=1,
        description="Handle calls, each with a chunk of records, that a replica accepts at a time.",
    )
    health_check_period_s: float = Field(
        default=10.0, gt=0, description="Between two health checks of a replica."
    )
    health_check_timeout_s: float = Field(
        default=30.0, gt=0, description="After so long without an answer a check has failed."
    )
    graceful_shutdown_timeout_s: float = Field(
        default=60.0,
        gt=0,
        description="How long a stopping replica may finish its calls: at least the "
        "drain_timeout_s of every route that calls the model, directly or through a pipeline.",
    )

    @property
    def sets_replicas(self) -> bool:
        return "replicas" in self.model_fields_set
