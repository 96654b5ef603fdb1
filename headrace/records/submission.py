"""Publishes request lines: each is acknowledged or reported, in bounded memory."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidMessageError, MessageSizeTooLargeError
from aiokafka.structs import RecordMetadata

from consumer.kafka.client.connection import client_options, explaining_failures
from headrace.errors import FirstProblems
from headrace.records.lines import BadLine
from headrace_client.wire.names import Place
from schemas.settings.file import KafkaSettings
from schemas.wire.headers import Headers

MAX_LINE_BYTES = 16 * 1024 * 1024
MAX_UNACKNOWLEDGED_RECORDS = 20_000

TOO_LARGE = (MessageSizeTooLargeError, InvalidMessageError)
"""The record itself is at fault; anything else is the cluster's and ends the submission."""


@dataclass(slots=True)
class Submission:
    """The progress of a submission: acknowledged by all in-sync replicas, or refused, and why."""

    sent_records: int = 0
    refused_records: int = 0
    problems: FirstProblems = field(default_factory=FirstProblems)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def refuse(self, number: int, reason: str) -> None:
        self.refused_records += 1
        self.problems.note(f"record {number}: {reason}")


async def publish_lines(
    kafka: KafkaSettings,
    topic: str,
    lines: AsyncIterator[bytes | BadLine],
    *,
    key_of: Callable[[bytes], bytes | None],
    submission: Submission,
    headers: Headers | None = None,
    note_place: Callable[[Place], None] = lambda _place: None,
) -> None:
    """Publish each line unchanged, and count in ``submission``; ``SourceError`` if refused.

    ``note_place`` takes the place of each record that is acknowledged.
    """

    async def count_outcome(number: int, acknowledgement: asyncio.Future[RecordMetadata]) -> None:
        try:
            sent = await acknowledgement
        except TOO_LARGE as error:
            submission.refuse(number, str(error))
        else:
            submission.sent_records += 1
            note_place(Place(sent.topic, sent.partition, sent.offset))

    with explaining_failures(kafka, f"writing to {topic}"):
        producer = AIOKafkaProducer(
            **client_options(kafka),
            acks="all",
            enable_idempotence=True,
            linger_ms=5,
            max_batch_size=256 * 1024,
            max_request_size=MAX_LINE_BYTES + 1024 * 1024,
        )
        pending: deque[tuple[int, asyncio.Future[Any]]] = deque()
        number = 0
        try:
            await producer.start()
            async for line in lines:
                number += 1
                if isinstance(line, BadLine):
                    submission.refuse(number, f"line {line.number} {line.reason}; not sent")
                    continue
                while pending and (
                    pending[0][1].done() or len(pending) >= MAX_UNACKNOWLEDGED_RECORDS
                ):
                    await count_outcome(*pending.popleft())
                try:
                    sending = await producer.send(topic, line, key=key_of(line), headers=headers)
                    pending.append((number, sending))
                except TOO_LARGE as error:
                    submission.refuse(number, str(error))
            await producer.flush()
            while pending:
                await count_outcome(*pending.popleft())
        finally:
            await producer.stop()
