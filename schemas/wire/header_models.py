"""The records' headers as models, for their published schema; ``schemas.wire.headers`` reads them.

Values are UTF-8 text on the wire. Any header besides these is the producer's own and is echoed on
the result.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from schemas.names import TopicName
from schemas.wire import headers

DIGITS = r"^\d+$"
EPOCH_MS = rf"^[0-9]{{1,{headers.MAX_EPOCH_MS_DIGITS}}}$"


Source = Annotated[
    str,
    Field(
        alias=headers.SOURCE,
        pattern=r"^[A-Za-z0-9._-]{1,249}/\d+/\d+$",
        description="Where the request stands: TOPIC/PARTITION/OFFSET.",
    ),
]


class _Headers(BaseModel):
    """Headers by their names on the wire; others may stand beside them."""

    model_config = ConfigDict(extra="allow", populate_by_name=True, frozen=True)


class RequestHeaders(_Headers):
    """Headers that a producer may set; every one is optional."""

    deadline: str | None = Field(
        default=None,
        alias=headers.DEADLINE,
        pattern=EPOCH_MS,
        description="Epoch milliseconds after which the answer is worth nothing. What does not "
        "match counts as absent.",
    )
    job: str | None = Field(
        default=None, alias=headers.JOB, description="The job that the request belongs to."
    )
    job_weight: str | None = Field(
        default=None,
        alias=headers.JOB_WEIGHT,
        pattern=r"^([1-9][0-9]?|100)$",
        description="The job's share of the route beside other jobs that wait: 1 to 100, and 1 "
        "where it is left out. What does not match counts as absent.",
    )
    tenant: str | None = Field(
        default=None, alias=headers.TENANT, description="On whose account the request runs."
    )
    priority: str | None = Field(
        default=None, alias=headers.PRIORITY, description="The producer's priority; echoed."
    )
    reply_topic: TopicName | None = Field(
        default=None,
        alias=headers.REPLY_TOPIC,
        description="The topic of the result, in place of the route's results topic; one of those "
        "that the route's reply_topics allow. Another is refused with 400, "
        "reply_topic_refused. Echoed.",
    )
    traceparent: str | None = Field(
        default=None,
        alias=headers.TRACEPARENT,
        description="W3C trace context. Echoed; of a request that the service traces, the result "
        "has that of the service's own span.",
    )
    tracestate: str | None = Field(
        default=None,
        alias=headers.TRACESTATE,
        description="W3C trace context: what tracing systems add to it. Echoed.",
    )
    replays: str | None = Field(
        default=None,
        alias=headers.REPLAYS,
        description="How often it was replayed as a dead letter; `headrace dlq replay` sets it. "
        "Echoed: a result that has it comes after an earlier one for the same request.",
    )
    failures: str | None = Field(
        default=None,
        alias=headers.FAILURES,
        description="A replayed request's earlier failures, the oldest first, as a JSON array of "
        "{error_code, error_message, source, route, attempts, failed_at}; the first and the newest "
        "are kept.",
    )


class ResultHeaders(_Headers):
    """Headers that every result carries besides the request's own."""

    source: Source
    attempts: str = Field(
        alias=headers.ATTEMPTS, pattern=DIGITS, description="How often the model was asked."
    )
    model: str = Field(alias=headers.MODEL, description="The model's name in the settings.")
    timings: str = Field(
        alias=headers.TIMINGS,
        description="Milliseconds as NAME=VALUE, parted by commas: queued_ms, model_ms.",
    )
