"""Spans go out as OpenTelemetry has them, beside the loop and within bounds."""

import logging
import re
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from handoff.tracing.exporting import SpanExport, make_exporter, make_resource
from handoff.tracing.headers import read_headers
from handoff.tracing.opening import ReplicaTracing, TracingError, open_sink, open_sink_or_say
from handoff.tracing.spans import Span, SpanContext
from schemas.settings.tracing import TracingSettings
from tests.tracing import running_collector

OWN, PARENT, OTHER = SpanContext(1, 2, "a=1,b=2"), SpanContext(1, 3), SpanContext(9, 9)


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0
        self.now_ms = 1_000_000

    def monotonic(self) -> float:
        return self.now_s

    def epoch_ms(self) -> int:
        return self.now_ms


def span(name: str = "work") -> Span:
    return Span(
        name=name,
        kind="server",
        context=OWN,
        parent=PARENT,
        start_s=98.0,
        end_s=99.5,
        attributes={"a": 1, "b": ("x", "y")},
        links=[OTHER],
        error="it failed\nat line 1",
    )


def export_of(exporter: SpanExporter, clock: Clock, **options: Any) -> SpanExport:
    return SpanExport(exporter, resource=Resource({"service.name": "s"}), clock=clock, **options)


def test_a_span_keeps_its_ids_times_and_links() -> None:
    memory = InMemorySpanExporter()
    export = export_of(memory, Clock())
    export.take([span()])
    export.flush()
    (sent,) = memory.get_finished_spans()

    assert sent.context is not None
    assert sent.parent is not None
    assert (sent.context.trace_id, sent.context.span_id, sent.parent.span_id) == (1, 2, 3)
    assert sent.context.trace_state.to_header() == "a=1,b=2"
    assert sent.parent.is_remote
    assert (sent.start_time, sent.end_time) == (998_000_000_000, 999_500_000_000)
    assert sent.kind is SpanKind.SERVER
    assert sent.attributes == {"a": 1, "b": ("x", "y")}
    assert [each.context.trace_id for each in sent.links] == [9]
    assert sent.status.status_code is StatusCode.ERROR
    assert sent.status.description == "it failed"


def test_a_jumping_wall_clock_is_followed_and_its_milliseconds_are_not() -> None:
    memory, clock = InMemorySpanExporter(), Clock()
    export = export_of(memory, clock)
    for now_s, now_ms in ((100.0, 1_000_000), (100.0009, 1_000_000), (100.001, 1_005_000)):
        clock.now_s, clock.now_ms = now_s, now_ms
        export.take([span()])
    export.flush()
    starts = [each.start_time for each in memory.get_finished_spans()]

    assert starts[0] == starts[1]
    assert starts[2] == pytest.approx(1_002_999_000_000, abs=1_000)


class HeldExporter(SpanExporter):
    """Takes the first spans, and holds them until it is let go."""

    def __init__(self) -> None:
        self.began, self.go_on = threading.Event(), threading.Event()
        self.sent = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.began.set()
        self.go_on.wait(10)
        self.sent += len(spans)
        return SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


def test_a_slow_collector_costs_spans_and_never_memory_or_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    counts: Counter[str] = Counter()
    exporter = HeldExporter()
    export = SpanExport(
        exporter,
        resource=Resource({}),
        clock=Clock(),
        most_waiting=20,
        most_at_once=10,
        count=lambda outcome, number: counts.update({outcome: number}),
    )
    export.take([span()] * 10)
    assert exporter.began.wait(10)
    export.take([span()] * 100)

    assert export.dropped == 80
    with caplog.at_level(logging.WARNING, "handoff.tracing.exporting"):
        exporter.go_on.set()
        export.flush()
    assert exporter.sent == 30
    assert counts == {"sent": 30, "dropped": 80}
    assert "80 spans were dropped" in caplog.text
    export.take([span()])
    export.flush()
    assert exporter.sent == 31


async def test_spans_reach_a_collector_with_headers_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("Authorization=Bearer token\n\n")
    with running_collector() as collector:
        settings = TracingSettings(
            enabled=True, endpoint=collector.endpoint, protocol="http/protobuf", headers_file=file
        )
        tracing = ReplicaTracing(settings=settings, service="headrace-model-m", model="m")
        sink = open_sink(tracing, instance="replica-1", clock=Clock())
        sink.take([span()])
        await sink.close()

    ((service, sent),) = collector.spans
    assert (service, sent.name) == ("headrace-model-m", "work")
    assert collector.headers["authorization"] == "Bearer token"


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json'"),
        ("OTEL_SDK_DISABLED", "false", r"tracing\.headers_file: .*missing cannot be read"),
    ],
)
async def test_who_cannot_send_spans_says_so_and_goes_on(
    variable: str,
    value: str,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(variable, value)
    file = tmp_path / "missing" if "missing" in reason else None
    settings = TracingSettings(enabled=True, headers_file=file)
    tracing = ReplicaTracing(settings=settings, service="s", model="m")

    assert open_sink_or_say(tracing, instance="r", clock=Clock()) is None
    [line] = caplog.records
    assert line.event == "traces_not_sent"  # type: ignore[attr-defined]
    assert re.search(f"runs without traces: .*{reason}", line.getMessage())


async def test_a_collector_that_refuses_is_counted_and_raises_nothing() -> None:
    counts: Counter[str] = Counter()
    with running_collector() as collector:
        collector.refuses = True
        settings = TracingSettings(enabled=True, endpoint=collector.endpoint)
        tracing = ReplicaTracing(settings=settings, service="s", model="m")
        sink = open_sink(
            tracing,
            instance="r",
            clock=Clock(),
            count=lambda outcome, number: counts.update({outcome: number}),
        )
        sink.take([span()])
        await sink.close()

    assert counts == {"failed": 1}


def test_the_environment_names_the_service_and_the_settings_do_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    attributes = make_resource("headrace-route-r", "replica-1").attributes

    assert attributes["service.name"] == "headrace-route-r"
    assert attributes["service.instance.id"] == "replica-1"
    assert attributes["deployment.environment.name"] == "test"

    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    assert make_resource("headrace-route-r", "replica-1").attributes["service.name"] == "mine"


def test_grpc_is_chosen_by_setting_or_variable() -> None:
    by_setting = TracingSettings(enabled=True, protocol="grpc", endpoint="http://127.0.0.1:4317")
    by_variable = TracingSettings(enabled=True, endpoint="http://127.0.0.1:4317")
    exporters = [
        make_exporter(by_setting, {}),
        make_exporter(by_variable, {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}),
    ]
    try:
        assert all("grpc" in type(each).__module__ for each in exporters)
    finally:
        for each in exporters:
            each.shutdown()


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(TracingError, match="OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json'"):
        make_exporter(TracingSettings(enabled=True), {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"})
    missing = TracingSettings(enabled=True, headers_file=tmp_path / "missing")
    with pytest.raises(TracingError, match=r"tracing\.headers_file: .*missing cannot be read"):
        read_headers(missing)
    (tmp_path / "bad").write_text("secret-token\n")
    with pytest.raises(TracingError, match="line 1 of") as raised:
        read_headers(TracingSettings(enabled=True, headers_file=tmp_path / "bad"))
    assert "secret" not in str(raised.value)
