"""Turns settings into Serve applications as plain values: one per model, one per route."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from headrace.service.stop_times import consumer_stop_timeout_s
from schemas.settings.autoscaling import AutoscalingSettings, initial_replicas
from schemas.settings.file import KafkaSettings, RouteSettings, Settings
from schemas.settings.live import (
    ALERT_ROUTE_KEYS,
    LIVE_MODEL_KEYS,
    LIVE_ROUTE_KEYS,
    SERVE_MODEL_KEYS,
    SERVE_ROUTE_KEYS,
    TOPIC_ROUTE_KEYS,
    plain,
    split,
)
from schemas.settings.logs import LoggingSettings
from schemas.settings.models import ModelSettings
from schemas.settings.secrets import KAFKA, clusters_of, with_references
from serve_models.generation.adapters.room import asks_for_room

Kind = Literal["status", "model", "route", "console"]

STATUS_APPLICATION = "headrace"
STATUS_DEPLOYMENT = "status"
CONSOLE_APPLICATION = "headrace-console"
CONSOLE_DEPLOYMENT = "console"
MODEL_PREFIX = "headrace-model-"
ROUTE_PREFIX = "headrace-route-"
SCALING_POLICY = "consumer.autoscaling.assigned_policy:AssignedScalingPolicy"
_OF_SAMPLING = ("sample_ratio", "max_records_per_s")
LOOK_BACK_S = 11.0
"""Serve's mean of ongoing calls only keeps the last replica. It has to span more than one report
of the handles, which come every 10 s."""


def model_application_name(model: str) -> str:
    return MODEL_PREFIX + model


def route_application_name(route: str) -> str:
    return ROUTE_PREFIX + route


def model_deployment_name(model: str) -> str:
    return f"model-{model}"


def consumer_deployment_name(route: str) -> str:
    return f"consumer-{route}"


def deployment_name(application: str) -> str:
    match kind_of(application):
        case "model":
            return model_deployment_name(application.removeprefix(MODEL_PREFIX))
        case "route":
            return consumer_deployment_name(application.removeprefix(ROUTE_PREFIX))
        case "console":
            return CONSOLE_DEPLOYMENT
        case _:
            return STATUS_DEPLOYMENT


def kind_of(application: str) -> Kind | None:
    """Return the kind of an application by its name; ``None`` if it is not Headrace's."""
    if application == STATUS_APPLICATION:
        return "status"
    if application == CONSOLE_APPLICATION:
        return "console"
    if application.startswith(MODEL_PREFIX):
        return "model"
    return "route" if application.startswith(ROUTE_PREFIX) else None


def title_of(application: str) -> str:
    """Return an application's name for people: ``model NAME``, ``route NAME``, ``status``..."""
    return {
        "console": CONSOLE_DEPLOYMENT,
        "model": f"model {application.removeprefix(MODEL_PREFIX)}",
        "route": f"route {application.removeprefix(ROUTE_PREFIX)}",
    }.get(kind_of(application) or "", STATUS_DEPLOYMENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationSpec:
    """What one Serve application is made of; JSON values.

    Attributes:
        built: What its replicas are built from: a change restarts them.
        live: What running replicas apply without a restart.
        options: What Serve itself applies: replicas, autoscaling, health checks, stop times.
        calls: Applications whose deployments it calls.
    """

    name: str
    deployment: str
    built: Mapping[str, Any]
    live: Mapping[str, Any]
    options: Mapping[str, Any]
    calls: tuple[str, ...] = field(default=())

    @property
    def version(self) -> str:
        text = orjson.dumps(self.built, option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(text).hexdigest()[:16]


def specs_of(settings: Settings) -> list[ApplicationSpec]:
    """Return the applications in the order of their deployment: status, models, routes, console.

    A model comes after those that it calls. Models that no route needs are left out. None holds a
    secret.
    """
    clusters = {name: _cluster(each, name) for name, each in clusters_of(settings).items()}
    models: dict[str, ApplicationSpec] = {}
    for route in settings.routes.values():
        for name in settings.models_behind(route.model):
            models.setdefault(name, _model_spec(name, settings))
    routes = [_route_spec(name, settings, clusters) for name in settings.routes]
    console = [_console_spec(settings, clusters)] if settings.console.enabled else []
    status = _status_spec(settings, list(models), clusters[KAFKA])
    return [status, *models.values(), *routes, *console]


def _status_spec(
    settings: Settings, models: list[str], kafka: Mapping[str, Any]
) -> ApplicationSpec:
    scaling = {}
    for name in models:
        if (scaled := settings.models[name].autoscaling) is not None:
            readers = [
                (route_name, route)
                for route_name, route in settings.routes.items()
                if name in settings.models_behind(route.model)
            ]
            scaling[model_deployment_name(name)] = _task(scaled, readers, is_consumer=False)
    for name, route in settings.routes.items():
        if route.autoscaling is not None:
            task = _task(route.autoscaling, [(name, route)], is_consumer=True)
            scaling[consumer_deployment_name(name)] = task
    return ApplicationSpec(
        name=STATUS_APPLICATION,
        deployment=STATUS_DEPLOYMENT,
        built={"kafka": kafka},
        live={"scaling": scaling, **({"jobs": jobs} if (jobs := plain(settings.jobs)) else {})},
        options={"num_replicas": 1, **logging_options(settings.logging)},
    )


def _task(
    scaling: AutoscalingSettings, readers: list[tuple[str, RouteSettings]], *, is_consumer: bool
) -> dict[str, Any]:
    return {
        "settings": plain(scaling),
        "sources": [
            {
                "group": route.group,
                "topic": route.requests_topic,
                "from_latest": route.start_from == "latest",
                "route": name,
                "ordering": route.ordering,
                # Only limits that are set: a policy of an earlier release knows none.
                **{
                    key: limit
                    for key in ("max_records_per_s", "max_tokens_per_s")
                    if (limit := getattr(route.flow, key)) is not None
                },
            }
            for name, route in readers
        ],
        "is_consumer": is_consumer,
    }


def _console_spec(settings: Settings, clusters: Mapping[str, Mapping[str, Any]]) -> ApplicationSpec:
    return ApplicationSpec(
        name=CONSOLE_APPLICATION,
        deployment=CONSOLE_DEPLOYMENT,
        built={
            **clusters,
            "console": plain(settings.console),
            "jobs_topic": settings.jobs.topic,
        },
        live={},
        options={"num_replicas": 1, **logging_options(settings.logging)},
    )


def _model_spec(name: str, settings: Settings) -> ApplicationSpec:
    model = settings.models[name]
    values, _ = split(plain(model), SERVE_MODEL_KEYS)
    built_values, live = split(values, LIVE_MODEL_KEYS[model.kind])
    built: dict[str, Any] = {"model": name, "settings": built_values}
    if settings.weights.cache is not None:
        built["weights_cache"] = str(settings.weights.cache)
    if settings.tracing.enabled:
        # Only consumers decide what is sampled.
        built["tracing"], _ = split(plain(settings.tracing), _OF_SAMPLING)
    called: list[str] = []
    if model.kind == "generator" and model.adapters and not asks_for_room(model.engine_args):
        # Adapters change live; room for any is made only when an engine starts.
        built["takes_adapters"] = True
    if model.kind == "pipeline":
        called = sorted({step.model for step in model.steps.values()})
        built["calls"] = called
    deployment = model_deployment_name(name)
    return ApplicationSpec(
        name=model_application_name(name),
        deployment=deployment,
        built=built,
        live=live,
        options={
            **_replica_options(
                deployment, model.replicas, model.autoscaling, is_set=model.sets_replicas
            ),
            "max_ongoing_requests": model.max_ongoing_requests,
            "health_check_period_s": model.health_check_period_s,
            "health_check_timeout_s": model.health_check_timeout_s,
            "graceful_shutdown_timeout_s": model.graceful_shutdown_timeout_s,
            **logging_options(settings.logging),
        },
        calls=tuple(map(model_application_name, called)),
    )


def _route_spec(
    name: str, settings: Settings, clusters: Mapping[str, Mapping[str, Any]]
) -> ApplicationSpec:
    tracing = {"tracing": plain(settings.tracing)} if settings.tracing.enabled else {}
    route = settings.routes[name]
    model: ModelSettings = settings.models[route.model]
    unread = (*SERVE_ROUTE_KEYS, *TOPIC_ROUTE_KEYS, *ALERT_ROUTE_KEYS)
    values, _ = split(plain(route), unread)
    built_values, live = split(values, LIVE_ROUTE_KEYS)
    deployment = consumer_deployment_name(name)
    return ApplicationSpec(
        name=route_application_name(name),
        deployment=deployment,
        built={
            "route": name,
            "settings": built_values,
            **clusters,
            "urls": sorted(model.endpoints),
            "work_field": model.work_field,
            **tracing,
        },
        live=live,
        options={
            **_replica_options(
                deployment, route.consumers, route.autoscaling, is_set=route.sets_consumers
            ),
            "graceful_shutdown_timeout_s": consumer_stop_timeout_s(route),
            **logging_options(settings.logging),
        },
        calls=(model_application_name(route.model),),
    )


def _replica_options(
    deployment: str, replicas: int, scaling: AutoscalingSettings | None, *, is_set: bool
) -> dict[str, Any]:
    """Return how many replicas Serve runs.

    With autoscaling Serve returns to ``initial_replicas`` whenever a setting of the application
    changes, whatever the load; without ``initial_replicas`` the number stays.
    """
    if scaling is None:
        return {"num_replicas": replicas}
    start = {"initial_replicas": initial_replicas(replicas, scaling, is_set=True)} if is_set else {}
    return {
        "autoscaling_config": {
            "min_replicas": scaling.min_replicas,
            **start,
            "max_replicas": scaling.max_replicas,
            "look_back_period_s": LOOK_BACK_S,
            # The policy has delays of its own.
            "upscale_delay_s": 0.0,
            "downscale_delay_s": 0.0,
            "downscale_to_zero_delay_s": 0.0,
            # Always the same for a deployment: Serve would restart its replicas for another one.
            "policy": {
                "policy_function": SCALING_POLICY,
                "policy_kwargs": {"deployment": deployment},
            },
        }
    }


def logging_options(logs: LoggingSettings) -> dict[str, Any]:
    """Return Serve's ``logging_config`` in its names; empty for the defaults, which are Serve's."""
    if logs == LoggingSettings():
        return {}
    encoding = "JSON" if logs.format == "json" else "TEXT"
    return {"logging_config": {"encoding": encoding, "log_level": logs.level.upper()}}


def _cluster(kafka: KafkaSettings, section: str) -> dict[str, Any]:
    """Return a cluster's section with the names of variables in place of its secrets."""
    values = plain(with_references(kafka, section))
    values.pop("broker", None)
    return values
