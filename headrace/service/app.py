"""Settings to a Serve application graph: models, one consumer deployment a route, status."""

from collections.abc import Mapping
from typing import Any

from ray import serve
from ray.serve.config import AutoscalingConfig

from consumer.replica.deployment import Consumer
from headrace.service.autoscaling import autoscaling_config, lag_source, sources_of_model
from headrace.service.stopping import consumer_stop_timeout_s
from headrace.status.board import DEPLOYMENT_NAME as STATUS_DEPLOYMENT
from headrace.status.board import status_board_deployment
from schemas.settings.file import KafkaSettings, RouteSettings, Settings
from schemas.settings.models import ModelSettings
from schemas.settings.pipeline_checks import calls_per_window, own_calls_per_window
from serve_models.deployments import deployment_for


def model_deployment_name(model: str) -> str:
    """Return the name of a model's deployment."""
    return f"model-{model}"


def consumer_deployment_name(route: str) -> str:
    """Return the name of a route's consumer deployment."""
    return f"consumer-{route}"


def build(settings: Settings) -> serve.Application:
    """Compose the application that ``serve.run`` deploys.

    Models that neither a route nor a pipeline of one calls are left out. A model that several call
    is deployed once.
    """
    models: dict[str, serve.Application] = {}
    consumers = []
    for name, route in settings.routes.items():
        for each in settings.models_behind(route.model):
            if each not in models:
                models[each] = bind_model(
                    each, settings.models, models, model_scaling(each, settings)
                )
        model = settings.models[route.model]
        consumers.append(
            bind_consumer(
                name,
                route,
                settings.kafka,
                model,
                models[route.model],
                window_calls=calls_per_window(settings.models, route.model),
            )
        )
    return status_board_deployment().bind(*consumers)


def model_scaling(name: str, settings: Settings) -> AutoscalingConfig | None:
    """Return how Serve scales a model; ``None`` where it does not."""
    model = settings.models[name]
    if model.autoscaling is None:
        return None
    return autoscaling_config(
        model_deployment_name(name),
        model.autoscaling,
        settings.kafka,
        sources_of_model(name, settings),
        replicas=model.replicas if model.sets_replicas else None,
        is_consumer=False,
    )


def bind_model(
    name: str,
    models: Mapping[str, ModelSettings],
    bound: Mapping[str, serve.Application],
    scaling: AutoscalingConfig | None = None,
) -> serve.Application:
    """Compose the deployment of one model.

    Args:
        name: The model's key in the settings.
        models: The settings' models.
        bound: The deployments of the models that it calls, where it is a pipeline.
        scaling: How Serve scales it; a fixed number of replicas where unset.
    """
    model = models[name]
    called = {step.model for step in model.steps.values()} if model.kind == "pipeline" else set()
    return deployment_for(
        name,
        model,
        step_models={each: bound[each] for each in sorted(called)},
        calls_per_window={each: calls_per_window(models, each) for each in called},
        scaling=scaling,
    )


def bind_consumer(
    name: str,
    route: RouteSettings,
    kafka: KafkaSettings,
    model_settings: ModelSettings,
    model: Any,
    window_calls: int | None = None,
) -> serve.Application:
    """Compose the consumer deployment of one route.

    Args:
        name: The route's key in the settings.
        route: Its settings.
        kafka: The cluster.
        model_settings: The settings of the route's model.
        model: The bound model deployment, or a handle of one that runs already.
        window_calls: Into how many calls a replica's window is divided; as a model that calls no
            other wants it where unset.
    """
    deployment_name = consumer_deployment_name(name)
    replicas: dict[str, Any] = {"num_replicas": route.consumers}
    if route.autoscaling is not None:
        replicas = {
            "autoscaling_config": autoscaling_config(
                deployment_name,
                route.autoscaling,
                kafka,
                [lag_source(name, route)],
                replicas=route.consumers if route.sets_consumers else None,
                is_consumer=True,
            )
        }
    deployment: Any = serve.deployment(
        name=deployment_name,
        **replicas,
        ray_actor_options={"num_cpus": route.consumer_num_cpus},
        health_check_period_s=5.0,
        health_check_timeout_s=30.0,
        graceful_shutdown_timeout_s=consumer_stop_timeout_s(route),
        graceful_shutdown_wait_loop_s=0.1,
        logging_config={"enable_access_log": False},
    )(Consumer)
    application: serve.Application = deployment.bind(
        route_name=name,
        route=route,
        kafka=kafka,
        urls=model_settings.endpoints,
        work_field=model_settings.work_field,
        calls_per_window=window_calls or own_calls_per_window(model_settings),
        model=model,
        status_deployment=STATUS_DEPLOYMENT,
    )
    return application
