"""How the number of a deployment's replicas follows the work that waits for it."""

from typing import Self

from pydantic import Field, model_validator

from schemas.settings.section import Section


class AutoscalingSettings(Section):
    """Replicas between two bounds, as many as clear the backlog within a time."""

    min_replicas: int = Field(default=1, ge=0, description="0: none while there is no work.")
    max_replicas: int = Field(ge=1, le=10_000, description="The most replicas.")
    drain_target_s: float = Field(
        default=60.0,
        gt=0,
        description="Aim: what is there is done this long after it arrived. Shorter than a cold "
        "start cannot be met from zero.",
    )
    period_s: float = Field(default=2.0, gt=0, le=300, description="Between two decisions.")
    downscale_delay_s: float | None = Field(
        default=None,
        ge=0,
        description="Spare replicas are kept this long. Unset: as long as one takes to start, as "
        "that is what a wrong stop costs; 20 to 60 s.",
    )
    expected_records_per_s: float | None = Field(
        default=None,
        gt=0,
        description="What one replica does, until it has been measured. Unset: the first burst "
        "starts one more, measures, and only then starts the others.",
    )
    expected_cold_start_s: float = Field(
        default=30.0, gt=0, description="How long a replica takes to start, until measured."
    )
    lag_timeout_s: float = Field(
        default=10.0,
        gt=0,
        description="A reading of the lag that takes longer is given up; the target is held.",
    )

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(
                f"max_replicas: must be at least min_replicas ({self.min_replicas}); "
                "raise it, or lower min_replicas"
            )
        return self


class ConsumerAutoscalingSettings(AutoscalingSettings):
    """The same for a route's consumers; never more than the requests topic has partitions."""

    min_replicas: int = Field(
        default=1, ge=1, description="1 at least: a consumer has to be there to see a record."
    )


def initial_replicas(replicas: int, scaling: AutoscalingSettings | None, *, is_set: bool) -> int:
    """Return a deployment's first number of replicas; unset, scaling starts at its minimum."""
    if scaling is None:
        return replicas
    if not is_set:
        return scaling.min_replicas
    return min(max(replicas, scaling.min_replicas), scaling.max_replicas)


def most_replicas(replicas: int, scaling: AutoscalingSettings | None) -> int:
    return replicas if scaling is None else scaling.max_replicas
