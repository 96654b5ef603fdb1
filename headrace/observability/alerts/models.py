"""Alerts on models: that they answer, have their replicas, and have room. Pure.

Some ask for metrics that are not Headrace's: Ray Serve's, and vLLM's.
"""

from collections.abc import Iterator

from headrace.observability.alerts.alert import Alert, Pace, Series
from headrace.service.applications import model_deployment_name
from schemas.metrics import vllm_metric
from schemas.settings.autoscaling import AutoscalingSettings
from schemas.settings.file import RouteSettings
from schemas.settings.models import GeneratorSettings, ModelSettings

REPLICA_IS_HEALTHY = "ray_serve_deployment_replica_healthy"
TARGET_REPLICAS = "ray_serve_autoscaling_target_replicas"

NOT_OURS = frozenset({REPLICA_IS_HEALTHY, TARGET_REPLICAS})
"""Series of Ray Serve that alerts and dashboard use, beside those of ``schemas.metrics``."""

_FULL_GPU = 0.98
"""vLLM takes 0.92 of a GPU's memory by itself."""
_FULL_CACHE = 0.95


def breaker_alerts(name: str, route: RouteSettings, pace: Pace) -> Iterator[Alert]:
    """Return what consumers say of the model that their route calls."""
    series = Series("route", name, pace)
    yield Alert(
        name="HeadraceModelFailing",
        expr=f"max({series.of('breaker_open')}) > 0",
        minutes=5,
        severity="critical",
        labels={"route": name},
        summary=f"model {route.model} fails, so that it is called once in a while only",
    )


def model_alerts(name: str, model: ModelSettings, pace: Pace) -> Iterator[Alert]:
    deployment, labels = model_deployment_name(name), {"model": name}
    chosen = f'{{deployment="{deployment}"}}'
    # A series for each replica; a deployment without any has none.
    healthy = f"(sum({REPLICA_IS_HEALTHY}{chosen}) or vector(0))"
    yield Alert(
        name="HeadraceModelReplicasMissing",
        expr=f"max({TARGET_REPLICAS}{chosen}) > {healthy}",
        minutes=10,
        severity="warning",
        labels=labels,
        summary="fewer replicas are healthy than Ray Serve is to run",
    )
    if model.num_gpus:
        yield _gpu_alert(name, pace)
    if isinstance(model, GeneratorSettings):
        yield from _generator_alerts(name, pace)
    if model.autoscaling is not None:
        yield from _scaling_alerts(name, model.autoscaling, pace)


def _scaling_alerts(name: str, scaling: AutoscalingSettings, pace: Pace) -> Iterator[Alert]:
    series, labels = Series("deployment", model_deployment_name(name), pace), {"model": name}
    yield Alert(
        name="HeadraceScalingBlind",
        expr=f"max({series.of('autoscaling_held')}) > 0",
        minutes=10,
        severity="warning",
        labels=labels,
        summary="the lag is not known, so that the number of replicas stays as it is",
    )
    yield Alert(
        name="HeadraceAtMostReplicas",
        expr=f"max({series.of('autoscaling_clamped', clamp='max_replicas')}) > 0",
        minutes=60,
        severity="warning",
        labels=labels,
        summary=f"for an hour the backlog has asked for more than {scaling.max_replicas} "
        "replicas, the most that the settings allow",
    )


def _gpu_alert(name: str, pace: Pace) -> Alert:
    series = Series("model", name, pace)
    used, total = series.of("gpu_memory_used_bytes"), series.of("gpu_memory_total_bytes")
    return Alert(
        name="HeadraceGpuMemoryFull",
        expr=f"max({used} / {total}) > {_FULL_GPU}",
        minutes=10,
        severity="warning",
        labels={"model": name},
        summary=f"over {_FULL_GPU:.0%} of a GPU's memory is used: a larger batch may fail",
    )


def _generator_alerts(name: str, pace: Pace) -> Iterator[Alert]:
    chosen, labels = f'{{model_name="{name}"}}', {"model": name}

    def over_replicas(metric_name: str) -> str:
        return f"{vllm_metric(metric_name).exported}{chosen}"

    def rate(metric_name: str) -> str:
        return f"sum(rate({over_replicas(metric_name)}[{pace.of(10)}]))"

    slots = Series("model", name, pace).sum("generator_slots")
    yield Alert(
        name="HeadraceKvCacheFull",
        expr=f"max({over_replicas('kv_cache_usage_perc')}) > {_FULL_CACHE} "
        f"and sum({over_replicas('num_requests_waiting')}) > 0 "
        f"and sum({over_replicas('num_requests_running')}) < 0.5 * {slots}",
        minutes=15,
        severity="warning",
        labels=labels,
        summary="the KV cache is full before half of the slots are in use, and requests wait",
    )
    yield Alert(
        name="HeadracePreempting",
        expr=f"{rate('num_preemptions')} > 0.1 * ({rate('request_success')} or vector(0))",
        minutes=10,
        severity="warning",
        labels=labels,
        summary="over one request in ten loses its KV cache and begins again",
    )
