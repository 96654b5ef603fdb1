"""The names that spans and their attributes have: OpenTelemetry's conventions, and our own.

The conventions for messaging and for generative models are in development, and names change with
their releases. They stand here and nowhere else; the release is ``CONVENTIONS``.
"""

CONVENTIONS = "1.45.0"
SCHEMA_URL = f"https://opentelemetry.io/schemas/{CONVENTIONS}"
SCOPE = "headrace"

SERVICE_NAME = "service.name"
SERVICE_INSTANCE_ID = "service.instance.id"
ERROR_TYPE = "error.type"

# https://opentelemetry.io/docs/specs/semconv/messaging/
MESSAGING_SYSTEM = "messaging.system"
MESSAGING_OPERATION_TYPE = "messaging.operation.type"
MESSAGING_OPERATION_NAME = "messaging.operation.name"
MESSAGING_DESTINATION = "messaging.destination.name"
MESSAGING_PARTITION = "messaging.destination.partition.id"
MESSAGING_CONSUMER_GROUP = "messaging.consumer.group.name"
KAFKA_OFFSET = "messaging.kafka.offset"
KAFKA = "kafka"
PROCESS = "process"
SEND = "send"

# https://opentelemetry.io/docs/specs/semconv/gen-ai/
GEN_AI_OPERATION = "gen_ai.operation.name"
GEN_AI_PROVIDER = "gen_ai.provider.name"
GEN_AI_REQUEST_MODEL = "gen_ai.request.model"
GEN_AI_REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens"
GEN_AI_RESPONSE_ID = "gen_ai.response.id"
GEN_AI_RESPONSE_MODEL = "gen_ai.response.model"
GEN_AI_FINISH_REASONS = "gen_ai.response.finish_reasons"
GEN_AI_INPUT_TOKENS = "gen_ai.usage.input_tokens"
GEN_AI_OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
GEN_AI_TIME_TO_FIRST_TOKEN = "gen_ai.response.time_to_first_chunk"  # noqa: S105 - no password
"""Seconds. The convention's word for the first of what a stream brings."""
CHAT = "chat"
TEXT_COMPLETION = "text_completion"
EMBEDDINGS = "embeddings"

STANDARD = frozenset(
    {
        SERVICE_NAME,
        SERVICE_INSTANCE_ID,
        ERROR_TYPE,
        MESSAGING_SYSTEM,
        MESSAGING_OPERATION_TYPE,
        MESSAGING_OPERATION_NAME,
        MESSAGING_DESTINATION,
        MESSAGING_PARTITION,
        MESSAGING_CONSUMER_GROUP,
        KAFKA_OFFSET,
        GEN_AI_OPERATION,
        GEN_AI_PROVIDER,
        GEN_AI_REQUEST_MODEL,
        GEN_AI_REQUEST_MAX_TOKENS,
        GEN_AI_RESPONSE_ID,
        GEN_AI_RESPONSE_MODEL,
        GEN_AI_FINISH_REASONS,
        GEN_AI_INPUT_TOKENS,
        GEN_AI_OUTPUT_TOKENS,
        GEN_AI_TIME_TO_FIRST_TOKEN,
    }
)
"""Attributes that are the conventions' own."""

# What the conventions have no name for.
CUSTOM_ID = "headrace.custom_id"
JOB = "headrace.job"
ATTEMPTS = "headrace.attempts"
ATTEMPT = "headrace.attempt"
STATUS_CODE = "headrace.status_code"
OUTCOME = "headrace.outcome"
MODEL = "headrace.model"
REPLICA = "headrace.replica"
STEP = "headrace.pipeline.step"
BATCH_TEXTS = "headrace.batch.texts"
BATCH_TOKENS = "headrace.batch.tokens"
BATCH_TRACED_RECORDS = "headrace.batch.traced_records"
TOKENS = "headrace.tokens"
QUEUE_S = "headrace.generation.queue_s"
PREFILL_S = "headrace.generation.prefill_s"
DECODE_S = "headrace.generation.decode_s"

MOST_CHARACTERS = 256
"""Of an attribute that a request's author chooses."""


def bounded(text: str) -> str:
    return text[:MOST_CHARACTERS]
