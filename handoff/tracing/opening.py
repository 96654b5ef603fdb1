"""Tells replicas by their environment what to trace, and finds it there. Imports no OpenTelemetry.

The environment, because what else OpenTelemetry needs stands there too, and because a replica
without tracing then differs in nothing.
"""

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import orjson
from pydantic import BaseModel, ConfigDict

from handoff.clock import Clock
from handoff.tracing.spans import SpanSink
from schemas.settings.tracing import TracingSettings

log = logging.getLogger(__name__)

VARIABLE = "HEADRACE_REPLICA_TRACING"
CLOSES_WITHIN_S = 5.0
"""So long a replica that stops waits for its last spans to be sent."""

CountSpans = Callable[[str, int], None]
"""Takes an outcome of spans (``sent``, ``failed``, ``dropped``), and how many had it lately."""


class ReplicaTracing(BaseModel):
    """What a replica needs to trace.

    Attributes:
        settings: Of the settings file.
        service: The name of its service: that of its Serve application.
        model: The model's name in the settings; that of the model that a consumer calls.
        operation: What the model does, by the conventions where they have a word.
    """

    model_config = ConfigDict(frozen=True)

    settings: TracingSettings
    service: str
    model: str
    operation: str = ""


def with_tracing(options: Mapping[str, Any], tracing: ReplicaTracing | None) -> dict[str, Any]:
    """Return a deployment's options under which its replicas trace."""
    if tracing is None:
        return dict(options)
    actor = options.get("ray_actor_options", {})
    runtime_env = actor.get("runtime_env", {})
    value = tracing.model_dump_json(exclude_unset=True)
    variables = {**runtime_env.get("env_vars", {}), VARIABLE: value}
    actor = {**actor, "runtime_env": {**runtime_env, "env_vars": variables}}
    return {**options, "ray_actor_options": actor}


def find_tracing(environment: Mapping[str, str] = os.environ) -> ReplicaTracing | None:
    """Return what this process traces, if it traces."""
    value = environment.get(VARIABLE)
    if value is None:
        return None
    tracing = ReplicaTracing.model_validate(orjson.loads(value))
    return tracing if is_on(tracing.settings, environment) else None


def is_on(settings: TracingSettings, environment: Mapping[str, str]) -> bool:
    """Return whether to trace: the settings say so, and OpenTelemetry's variables do not forbid."""
    is_disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    exports = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower() != "none"
    return settings.enabled and exports and not is_disabled


class OpenSink(SpanSink, Protocol):
    """A sink that sends spans until it is closed."""

    async def close(self) -> None:
        """Send what waits, for a few seconds at most."""
        ...


def open_sink(
    tracing: ReplicaTracing, *, instance: str, clock: Clock, count: CountSpans | None = None
) -> OpenSink:
    """Open the exporter; ``instance`` names this replica.

    Raises ``TracingError`` if a setting or variable cannot be used.
    """
    # It imports OpenTelemetry's SDK, which nobody without tracing should load.
    from handoff.tracing.exporting import open_export  # noqa: PLC0415 - see above

    return open_export(tracing, instance=instance, clock=clock, count=count)


def open_sink_or_say(
    tracing: ReplicaTracing, *, instance: str, clock: Clock, count: CountSpans | None = None
) -> OpenSink | None:
    """As ``open_sink``, but log what cannot be used and return ``None``.

    Records matter more than their traces: a replica runs without them.
    """
    try:
        return open_sink(tracing, instance=instance, clock=clock, count=count)
    except Exception as error:  # noqa: BLE001 - OpenTelemetry reads variables that anybody may set
        log.warning(
            "runs without traces: %s",
            error,
            extra={"event": "traces_not_sent", "error_class": type(error).__name__},
        )
        return None


class TracingError(ValueError):
    """Spans cannot be sent as the settings say; the message names the setting and the fix."""
