"""The autoscaling section of models and routes."""

import pytest
from pydantic import ValidationError

from schemas.autoscaling_settings import AutoscalingSettings, ConsumerAutoscalingSettings


def test_bounds_have_to_be_in_order() -> None:
    with pytest.raises(ValidationError, match="max_replicas: must be at least min_replicas"):
        AutoscalingSettings(min_replicas=3, max_replicas=2)


def test_a_consumer_never_goes_to_zero() -> None:
    with pytest.raises(ValidationError, match="min_replicas"):
        ConsumerAutoscalingSettings(min_replicas=0, max_replicas=2)
