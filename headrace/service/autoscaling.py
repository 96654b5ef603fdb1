"""Settings to Serve's autoscaling configuration: which backlog a deployment works on."""

from collections.abc import Sequence
from typing import Any

from ray import cloudpickle
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy

from consumer.autoscaling.lag_reader import GroupLagSource
from consumer.autoscaling.serve_policy import ServeScalingPolicy
from schemas.settings.autoscaling import AutoscalingSettings, initial_replicas
from schemas.settings.file import KafkaSettings, RouteSettings, Settings

LOOK_BACK_S = 11.0


def lag_source(name: str, route: RouteSettings) -> GroupLagSource:
    """Return the group that reads the requests of the route of that name."""
    from_latest = route.start_from == "latest"
    return GroupLagSource(route.group, route.requests_topic, from_latest, name, route.ordering)


def sources_of_model(model: str, settings: Settings) -> list[GroupLagSource]:
    """Return the groups whose records a model works on: those of all routes that it is behind."""
    return [
        lag_source(name, route)
        for name, route in settings.routes.items()
        if model in settings.models_behind(route.model)
    ]


def autoscaling_config(
    deployment: str,
    scaling: AutoscalingSettings,
    kafka: KafkaSettings,
    sources: Sequence[GroupLagSource],
    *,
    replicas: int | None,
    is_consumer: bool,
) -> AutoscalingConfig:
    """Return what Serve needs to scale a deployment by our policy.

    Args:
        deployment: Its name.
        scaling: Its bounds and aim.
        kafka: The cluster.
        sources: The groups whose backlog it works on.
        replicas: How many to start with, where somebody has chosen it. Serve goes back to that many
            whenever any setting changes, whatever the load. ``None`` starts with the least, and
            leaves the number as it is when a setting changes.
        is_consumer: Whether it reads the topic itself.
    """
    policy = ServeScalingPolicy(
        deployment=deployment,
        settings=scaling,
        kafka=kafka,
        sources=sources,
        is_consumer=is_consumer,
    )
    # Any: these of Ray's are not annotated.
    make_policy: Any = AutoscalingPolicy
    pickled: Any = cloudpickle
    return AutoscalingConfig(
        min_replicas=scaling.min_replicas,
        initial_replicas=None
        if replicas is None
        else initial_replicas(replicas, scaling, is_set=True),
        max_replicas=scaling.max_replicas,
        # Serve's mean of ongoing calls only keeps the last replica: no longer than need be. It has
        # to span more than one report of the handles, which come every 10 s.
        look_back_period_s=LOOK_BACK_S,
        # The policy has delays of its own.
        upscale_delay_s=0.0,
        downscale_delay_s=0.0,
        downscale_to_zero_delay_s=0.0,
        policy=make_policy(
            policy_function="consumer.autoscaling.serve_policy:ServeScalingPolicy",
            # As arguments of the class they would stand in the controller's log, the broker's
            # password among them.
            _serialized_policy_def=pickled.dumps(policy),
        ),
    )
