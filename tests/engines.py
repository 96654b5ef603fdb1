"""Engines and records for tests."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import orjson

from consumer.engine.admission import Admission
from consumer.engine.bodies.moves import ClaimCheckPolicy, Fetch
from consumer.engine.calls.key_queues import Ordering
from consumer.engine.engine import Engine
from consumer.engine.failures.retry import Failure, RetryPolicy
from consumer.engine.intake import Intake
from consumer.engine.outcomes.messages import OutcomeMessages
from consumer.engine.settings import EngineSettings
from consumer.engine.tracing.traces import Traces
from consumer.engine.work import Call, WorkItem
from consumer.ports import Message, Record, Rejection, TopicPartition
from handoff.chunk import STATUS_OK, Chunk, Outcomes
from schemas.wire.headers import Header
from tests.simulation import EPOCH_MS

URL = "/v1/embeddings"
PREFIX = "s3://bucket/requests"
P0 = TopicPartition("requests", 0)
P1 = TopicPartition("requests", 1)

TOO_LARGE = Rejection(Message("", None, None, []), "too large", is_too_large=True)
"""A rejection of any message."""


def make_engine(
    *,
    max_records: int = 1000,
    max_bytes: int = 1_000_000,
    max_attempts: int = 4,
    chunk_records: int = 64,
    max_request_bytes: int = 10_000,
    max_result_bytes: int = 10_000,
    metadata_limit_characters: int = 4096,
    ordering: Ordering = "none",
    retried: frozenset[Failure] = frozenset(Failure),
    claim_check: ClaimCheckPolicy | None = None,
    attempt_timeout_s: float | None = None,
    reply_topics: tuple[str, ...] = (),
    traces: Traces | None = None,
) -> Engine:
    prefixes = () if claim_check is None else (PREFIX,)
    max_object_bytes = 0 if claim_check is None else claim_check.max_object_bytes
    return Engine(
        consumer="consumer-under-test",
        intake=Intake(
            frozenset({URL}),
            max_request_bytes,
            None,
            prefixes,
            max_object_bytes,
            reply_topics=reply_topics,
        ),
        messages=OutcomeMessages(
            route="embeddings",
            model="minilm",
            results_topic="results",
            dead_letters_topic="dead-letters",
            max_result_bytes=max_result_bytes,
            fail_with_result=True,
        ),
        admission=Admission(max_records, max_bytes),
        retry=RetryPolicy(max_attempts, first_backoff_s=1.0, max_backoff_s=10.0, retried=retried),
        jitter=random.Random(7),
        settings=EngineSettings(
            most_chunk_records=chunk_records,
            metadata_limit_characters=metadata_limit_characters,
            ordering=ordering,
            attempt_timeout_s=attempt_timeout_s,
        ),
        claim_check=claim_check,
        traces=traces,
    )


def next_call(engine: Engine, now_s: float, now_ms: int) -> tuple[Call, Chunk]:
    """Return the engine's next call; there must be one."""
    call_and_chunk = engine.next_call(now_s, now_ms)
    assert call_and_chunk is not None
    return call_and_chunk


def line(custom_id: str | int = "a", **changes: Any) -> bytes:
    return orjson.dumps(
        {"custom_id": custom_id, "method": "POST", "url": URL, "body": {"input": "text"}} | changes
    )


def record(
    offset: int,
    value: bytes | None = None,
    *,
    partition: TopicPartition = P0,
    key: bytes | None = None,
    headers: Sequence[Header] = (),
    tombstone: bool = False,
) -> Record:
    if value is None and not tombstone:
        value = line(f"{partition.partition}-{offset}")
    return Record(partition, offset, key, value, headers, EPOCH_MS)


def answer(
    call: Call,
    chunk: Chunk,
    engine: Engine,
    *,
    status: int = STATUS_OK,
    now_s: float = 1.0,
    replica: str = "replica-1",
    window_records: int = 256,
) -> None:
    outcomes = Outcomes(replica, window_records)
    for index in range(len(chunk.lines)):
        outcomes.add(index, status, b'{"object":"list"}')
    engine.take_outcomes(call, outcomes, now_s, EPOCH_MS + int(now_s * 1000))
    engine.end_call(call, "over", now_s, EPOCH_MS + int(now_s * 1000))


def end_fetch(engine: Engine, fetch: Fetch, body: bytes, now_s: float = 0.0) -> None:
    """End a fetch as a store would: it is measured first, and goes on if there is room."""
    if fetch.size_bytes is None and not engine.bodies.measured(fetch, len(body), now_s):
        return
    engine.bodies.fetched(fetch, body, now_s)


class Published(NamedTuple):
    """What was published of a record, which forgets it then."""

    item: WorkItem
    messages: Sequence[Message]


def publish_all(engine: Engine) -> list[Published]:
    """Publish and acknowledge everything that may be."""
    items = engine.take_publications(10_000, 1 << 40)
    published = [Published(item, item.messages) for item in items]
    engine.acknowledged(items)
    return published


def rejections_of(item: WorkItem, why: Rejection, *indexes: int) -> list[Rejection]:
    """Reject messages of an outcome, all where none is named."""
    refused = [item.messages[index] for index in indexes or range(len(item.messages))]
    return [replace(why, message=message) for message in refused]
