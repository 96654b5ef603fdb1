"""Sends spans by OTLP. The only module that imports OpenTelemetry.

Spans come with their ids and times, which a tracer of the SDK's would make up itself; so they are
made as the SDK's exporters take them. The SDK's batch processor sends them in a thread of its own.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.status import Status, StatusCode

from handoff.clock import Clock
from handoff.tracing import names, spans
from handoff.tracing.headers import read_headers
from handoff.tracing.opening import CLOSES_WITHIN_S, CountSpans, ReplicaTracing, TracingError
from schemas.settings.tracing import TracingSettings

log = logging.getLogger(__name__)

QUEUE_VARIABLE = "OTEL_BSP_MAX_QUEUE_SIZE"
_EXPORT_VARIABLE = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"
_DEFAULT_QUEUE = 2048
_DEFAULT_EXPORT = 512
_HTTP, _GRPC = "http/protobuf", "grpc"
_PROTOCOL_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_TRACES_PATH = "/v1/traces"
_UNKNOWN_SERVICE = "unknown_service"
_CLOCK_STEP_S = 0.002
"""The wall clock comes in whole milliseconds; beyond that it was set, or the other one was."""
_WARNED_EVERY_S = 60.0
_MOST_ERROR_CHARACTERS = 256

_KINDS = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}
_REMOTE_KINDS = ("consumer", "server")
"""Their parents are spans of other processes."""
_UNSET = Status(StatusCode.UNSET)


class _SteadyResource(Resource):
    """A resource whose hash is computed once: the encoder asks for it at each span."""

    def __init__(self, resource: Resource) -> None:
        super().__init__(resource.attributes, resource.schema_url)
        self._hash = super().__hash__()

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other


def open_export(
    tracing: ReplicaTracing, *, instance: str, clock: Clock, count: CountSpans | None = None
) -> "SpanExport":
    exporter = make_exporter(tracing.settings, os.environ)
    resource = make_resource(tracing.service, instance)
    return SpanExport(
        exporter,
        resource=resource,
        clock=clock,
        most_waiting=_number(os.environ, QUEUE_VARIABLE, _DEFAULT_QUEUE),
        most_at_once=_number(os.environ, _EXPORT_VARIABLE, _DEFAULT_EXPORT),
        count=count,
    )


def make_resource(service: str, instance: str) -> Resource:
    """Return who sends the spans; OpenTelemetry's variables name the service, if they do."""
    found = Resource.create()
    own = Resource(
        {names.SERVICE_NAME: service, names.SERVICE_INSTANCE_ID: instance}, names.SCHEMA_URL
    )
    named = {
        name: value
        for name, value in found.attributes.items()
        # The SDK makes up an instance, and a service that nobody has named.
        if name != names.SERVICE_INSTANCE_ID and not str(value).startswith(_UNKNOWN_SERVICE)
    }
    return own.merge(Resource(named))


def make_exporter(settings: TracingSettings, environment: Mapping[str, str]) -> SpanExporter:
    """Return OpenTelemetry's exporter; what the settings leave unset it reads from the environment.

    Raises ``TracingError``.
    """
    protocol: str = settings.protocol or next(
        (environment[each] for each in _PROTOCOL_VARIABLES if environment.get(each)), _HTTP
    )
    headers = None if settings.headers_file is None else read_headers(settings)
    endpoint = settings.endpoint
    if protocol == _GRPC:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415 - one of two
            OTLPSpanExporter as GrpcExporter,
        )

        return GrpcExporter(endpoint=endpoint, headers=headers)
    if protocol != _HTTP:
        raise TracingError(
            f"{_PROTOCOL_VARIABLES[1]}: {protocol!r} is not spoken here; set {_HTTP} or {_GRPC}"
        )
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - one of two
        OTLPSpanExporter as HttpExporter,
    )

    if endpoint is not None and not endpoint.endswith(_TRACES_PATH):
        endpoint = endpoint.rstrip("/") + _TRACES_PATH
    return HttpExporter(endpoint=endpoint, headers=headers)


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "")
    return int(text) if text.isdigit() and int(text) > 0 else default


class SpanExport:
    """Queues spans for an exporter; one event loop owns it. Beyond ``most_waiting`` they are lost.

    Attributes:
        dropped: Spans that were lost for want of room.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        *,
        resource: Resource,
        clock: Clock,
        most_waiting: int = _DEFAULT_QUEUE,
        most_at_once: int = _DEFAULT_EXPORT,
        count: CountSpans | None = None,
    ) -> None:
        self._sender = _CountingExporter(exporter, clock, lambda: self.dropped, count)
        self._processor = BatchSpanProcessor(
            self._sender,
            max_queue_size=most_waiting,
            max_export_batch_size=min(most_waiting, most_at_once),
        )
        self._resource = _SteadyResource(resource)
        self._scope = InstrumentationScope(names.SCOPE, schema_url=names.SCHEMA_URL)
        self._clock = clock
        self._most_waiting = most_waiting
        self._queued = 0
        self._wall_offset_s = 0.0
        self.dropped = 0

    def take(self, ended: Iterable[spans.Span]) -> None:
        offset_s = self._offset_s()
        for span in ended:
            if self._queued - self._sender.taken >= self._most_waiting:
                self.dropped += 1
                continue
            self._queued += 1
            self._processor.on_end(self._as_sdk_has_it(span, offset_s))

    def flush(self) -> None:
        """Send what waits, and return when it is sent."""
        self._processor.force_flush()

    async def close(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSES_WITHIN_S):
                await asyncio.to_thread(self._processor.shutdown)

    def _offset_s(self) -> float:
        offset_s = self._clock.epoch_ms() / 1000 - self._clock.monotonic()
        if not 0 <= self._wall_offset_s - offset_s < _CLOCK_STEP_S:
            self._wall_offset_s = offset_s
        return self._wall_offset_s

    def _as_sdk_has_it(self, span: spans.Span, offset_s: float) -> ReadableSpan:
        is_remote = span.kind in _REMOTE_KINDS
        return ReadableSpan(
            name=span.name,
            context=_context(span.context),
            parent=None if span.parent is None else _context(span.parent, is_remote=is_remote),
            resource=self._resource,
            attributes=span.attributes,
            links=[Link(_context(each)) for each in span.links[: spans.MOST_LINKS]],
            kind=_KINDS[span.kind],
            status=_UNSET if span.error is None else Status(StatusCode.ERROR, _first(span.error)),
            start_time=_nanoseconds(span.start_s + offset_s),
            end_time=_nanoseconds(span.end_s + offset_s),
            instrumentation_scope=self._scope,
        )


class _CountingExporter(SpanExporter):
    """Counts what goes out, in the processor's thread.

    Attributes:
        taken: Spans that are in the queue no more.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        clock: Clock,
        dropped: Callable[[], int],
        count: CountSpans | None,
    ) -> None:
        self._exporter = exporter
        self._clock = clock
        self._dropped = dropped
        self._count = count
        self._noted_dropped = 0
        self._warned_at_s: float | None = None
        self.taken = 0

    def export(self, batch: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(batch)
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(batch)
        finally:
            self._note("sent" if result is SpanExportResult.SUCCESS else "failed", len(batch))
        return result

    def _note(self, outcome: str, exported: int) -> None:
        dropped = self._dropped() - self._noted_dropped
        self._noted_dropped += dropped
        if self._count is not None:
            self._count(outcome, exported)
            if dropped:
                self._count("dropped", dropped)
        now_s = self._clock.monotonic()
        if dropped and (self._warned_at_s is None or now_s - self._warned_at_s >= _WARNED_EVERY_S):
            self._warned_at_s = now_s
            log.warning(
                "%d spans were dropped, as the collector takes fewer: lower tracing.sample_ratio, "
                "or raise %s",
                dropped,
                QUEUE_VARIABLE,
                extra={"event": "spans_dropped", "spans": dropped},
            )

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _context(context: spans.SpanContext, *, is_remote: bool = False) -> SpanContext:
    return SpanContext(
        context.trace_id,
        context.span_id,
        is_remote,
        TraceFlags(TraceFlags.SAMPLED),
        _trace_state(context.state),
    )


@lru_cache(maxsize=256)
def _trace_state(text: str) -> TraceState:
    members = dict(each.strip().partition("=")[::2] for each in text.split(",") if each.strip())
    return TraceState(list(members.items()))


def _nanoseconds(moment_s: float) -> int:
    return int(moment_s * 1e9)


def _first(error: str) -> str:
    return error.split("\n", 1)[0][:_MOST_ERROR_CHARACTERS]
