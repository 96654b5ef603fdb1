"""The autoscaling section of models and routes."""

import pytest
from pydantic import ValidationError

from schemas.settings.autoscaling import (
    AutoscalingSettings,
    ConsumerAutoscalingSettings,
    initial_replicas,
)


def test_bounds_have_to_be_in_order() -> None:
    with pytest.raises(ValidationError, match="max_replicas: must be at least min_replicas"):
        AutoscalingSettings(min_replicas=3, max_replicas=2)


def test_a_consumer_never_goes_to_zero() -> None:
    with pytest.raises(ValidationError, match="min_replicas"):
        ConsumerAutoscalingSettings(min_replicas=0, max_replicas=2)


@pytest.mark.parametrize(
    ("replicas", "is_set", "expected"), [(1, False, 2), (1, True, 2), (3, True, 3), (9, True, 5)]
)
def test_scaling_starts_with_its_least_unless_told_otherwise(
    replicas: int, is_set: bool, expected: int
) -> None:
    scaling = AutoscalingSettings(min_replicas=2, max_replicas=5)

    assert initial_replicas(replicas, scaling, is_set=is_set) == expected
    assert initial_replicas(replicas, None, is_set=is_set) == replicas
