"""Traces of records, by OpenTelemetry."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from schemas.settings.section import Section

Endpoint = Annotated[
    str,
    StringConstraints(pattern=r"^https?://(\[[0-9A-Fa-f:.]+\]|[^\s/@:]+)(:\d{1,5})?(/[^\s@]*)?$"),
]
"""Without a user or a password: they would be in Ray's state and in `headrace render`."""


class TracingSettings(Section):
    """Spans of records and batches, sent to a collector by OTLP.

    What is unset here is as OpenTelemetry's own variables say (OTEL_EXPORTER_OTLP_ENDPOINT and
    others), in the environment of the replicas.
    """

    enabled: bool = Field(
        default=False,
        description="true: records are traced. OTEL_SDK_DISABLED=true turns it off again.",
    )
    sample_ratio: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Which share of the records that come without a traceparent is traced; others "
        "are traced if their traceparent says that they are sampled. Unset: OTEL_TRACES_SAMPLER, "
        "and 0.01 without it.",
    )
    max_records_per_s: int = Field(
        default=1_000,
        ge=1,
        description="The most records that a consumer traces in a second, whatever their producers "
        "say: a record that is traced costs several times what another costs.",
    )
    endpoint: Endpoint | None = Field(
        default=None,
        description="The collector: http://collector:4318, or with protocol grpc "
        "http://collector:4317. Unset: OTEL_EXPORTER_OTLP_ENDPOINT, else localhost.",
    )
    protocol: Literal["http/protobuf", "grpc"] | None = Field(
        default=None,
        description="Unset: OTEL_EXPORTER_OTLP_PROTOCOL, else http/protobuf.",
    )
    headers_file: Path | None = Field(
        default=None,
        description="A file with headers for the collector, NAME=VALUE a line, such as a token. "
        "Each replica reads it when it starts. Unset: OTEL_EXPORTER_OTLP_HEADERS.",
    )
