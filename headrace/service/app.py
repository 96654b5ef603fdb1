"""Builds the Serve applications from plain values: models, consumers, status board, console."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter
from ray import serve
from ray.serve.handle import DeploymentHandle

from handoff.tracing import names
from handoff.tracing.opening import ReplicaTracing, with_tracing
from headrace.service.applications import (
    STATUS_APPLICATION,
    STATUS_DEPLOYMENT,
    ApplicationSpec,
    kind_of,
    model_application_name,
    model_deployment_name,
    route_application_name,
)
from headrace.service.placing import with_placement
from schemas.settings.console import ConsoleSettings
from schemas.settings.file import KafkaSettings, RouteSettings
from schemas.settings.models import ModelSettings
from schemas.settings.secrets import RESULTS_KAFKA, with_references

_MODEL: TypeAdapter[ModelSettings] = TypeAdapter(ModelSettings)
_QUIET = {"enable_access_log": False}
"""A log line per call would mean one for every few hundred records; counters are better."""
_OPERATIONS = {
    "embedder": names.EMBEDDINGS,
    "classifier": "classify",
    "reranker": "rerank",
    "generator": "generate",
    "custom": "infer",
}
"""What a kind of model does, as its spans are called; a generator's say it more exactly."""
_HEAD = "node:__internal_head__"
"""A resource that Ray gives to its head's node."""
_LEAST_SHARE = 0.001
_CONSUMER_OPTIONS = {
    "health_check_period_s": 5.0,
    "health_check_timeout_s": 30.0,
    "graceful_shutdown_wait_loop_s": 0.1,
}


def application_of(
    spec: ApplicationSpec, kafka: KafkaSettings, version: str | None = None
) -> serve.Application:
    """Compose an application as ``serve.run`` takes it.

    Serve restarts the replicas if ``version`` changes, and only then; it is the spec's if unset.
    """
    version = version or spec.version
    options = {
        "name": spec.deployment,
        "user_config": {
            "live": spec.live,
            "built": spec.built,
            "options": spec.options,
            "version": version,
        },
        **spec.options,
    }
    return bound(spec.name, spec.built, kafka, options, version)


def bound(
    application: str,
    built: Mapping[str, Any],
    kafka: KafkaSettings | None,
    options: Mapping[str, Any],
    version: str | None = None,
    *,
    results: KafkaSettings | None = None,
) -> serve.Application:
    """Compose an application of what its replicas are built from and Serve's options.

    ``built`` and ``version`` are as for ``ApplicationSpec`` and ``application_of``; ``options`` has
    the name of the deployment. Models need no ``kafka``. ``results`` is the cluster of results, if
    it is another one; ``built`` has it if unset. Serve stores the clusters without their secrets.
    """
    kafka = None if kafka is None else with_references(kafka)
    if results is None and RESULTS_KAFKA in built:
        results = KafkaSettings.model_validate(built[RESULTS_KAFKA])
    match kind_of(application):
        case "model":
            replica, own, arguments = _model(built)
        case "route":
            replica, own, arguments = _consumer(built, kafka)
        case "console":
            replica, own, arguments = _console(built, kafka)
        case _:
            replica, own, arguments = _status(kafka)
    if results is not None and kind_of(application) in ("route", "console"):
        arguments["results"] = with_references(results, RESULTS_KAFKA)
    # Any: Ray's annotations of its decorator do not say that it returns a Deployment.
    logs = {**_QUIET, **options.get("logging_config", {})}
    decorate: Any = serve.deployment(**{**own, **options, "logging_config": logs})
    deployment = decorate(replica)
    if version is not None:
        # Serve sets the version of a config file's applications so.
        deployment = deployment.options(version=version, _internal=True)
    result: serve.Application = deployment.bind(**arguments)
    return result


_Parts = tuple[type, dict[str, Any], dict[str, Any]]
"""The class of the replicas, options that no setting changes alone, and the class's arguments."""


def _model(built: Mapping[str, Any]) -> _Parts:
    from serve_models.deployments import (  # noqa: PLC0415 - other applications need none
        actor_options,
        arguments_of,
        replica_class,
        with_weights_cache,
    )

    settings = _MODEL.validate_python(built["settings"])
    handles = {each: handle_of_model(each) for each in built.get("calls", ())}
    arguments = arguments_of(built["model"], settings, handles)
    if built.get("takes_adapters"):
        arguments["takes_adapters"] = True
    options = with_placement(actor_options(settings), settings.placement)
    options = with_weights_cache(options, built.get("weights_cache"))
    name = model_application_name(built["model"])
    options = with_tracing(options, _tracing(built, name, built["model"], settings.kind))
    return replica_class(settings), options, arguments


def _consumer(built: Mapping[str, Any], kafka: KafkaSettings | None) -> _Parts:
    from consumer.replica.deployment import Consumer  # noqa: PLC0415 - as above

    route = RouteSettings.model_validate(built["settings"])
    options = {**_CONSUMER_OPTIONS, "ray_actor_options": {"num_cpus": route.consumer_num_cpus}}
    arguments = {
        "route_name": built["route"],
        "route": route,
        "kafka": kafka,
        "urls": frozenset(built["urls"]),
        "work_field": built["work_field"],
        "model": handle_of_model(route.model),
        "status": _handle_of_status(),
    }
    options = with_placement(options, route.placement)
    tracing = _tracing(built, route_application_name(built["route"]), route.model)
    return Consumer, with_tracing(options, tracing), arguments


def _tracing(
    built: Mapping[str, Any], service: str, model: str, kind: str = ""
) -> ReplicaTracing | None:
    settings = built.get("tracing")
    if settings is None:
        return None
    operation = _OPERATIONS.get(kind, kind)
    return ReplicaTracing(settings=settings, service=service, model=model, operation=operation)


def _status(kafka: KafkaSettings | None) -> _Parts:
    from headrace.status.board import StatusBoard  # noqa: PLC0415 - as above

    options = {"max_ongoing_requests": 1_000, "ray_actor_options": {"num_cpus": 0}}
    return StatusBoard, options, {"kafka": kafka}


def _console(built: Mapping[str, Any], kafka: KafkaSettings | None) -> _Parts:
    from headrace.console.deployment import Console  # noqa: PLC0415 - as above

    options = {
        "max_ongoing_requests": 100,
        "health_check_period_s": 10.0,
        "graceful_shutdown_wait_loop_s": 0.1,
        "graceful_shutdown_timeout_s": 5.0,
        "ray_actor_options": {"num_cpus": 0, "resources": {_HEAD: _LEAST_SHARE}},
    }
    arguments = {
        "console": ConsoleSettings.model_validate(built["console"]),
        "kafka": kafka,
        "jobs_topic": built["jobs_topic"],
        "status": _handle_of_status(),
    }
    return Console, options, arguments


def _handle_of_status() -> DeploymentHandle[Any]:
    return DeploymentHandle(STATUS_DEPLOYMENT, STATUS_APPLICATION)


def handle_of_model(model: str) -> DeploymentHandle[Any]:
    """Return a handle of a model's deployment, which may not run yet: calls wait until it does."""
    return DeploymentHandle(model_deployment_name(model), model_application_name(model))
