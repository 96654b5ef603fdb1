"""Publishes request lines: each is acknowledged or reported, in bounded memory."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidMessageError, MessageSizeTooLargeError

from consumer.kafka.client.connection import client_options, explaining_failures
from headrace.errors import FirstProblems
from headrace.records.lines import BadLine
from schemas.settings.file import KafkaSettings

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
) -> None:
    """Publish each line unchanged, and count in ``submission``; ``SourceError`` if refused."""
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
                    await _count_outcome(*pending.popleft(), submission)
                try:
                    pending.append((number, await producer.send(topic, line, key=key_of(line))))
                except TOO_LARGE as error:
                    submission.refuse(number, str(error))
            await producer.flush()
            while pending:
                await _count_outcome(*pending.popleft(), submission)
        finally:
            await producer.stop()


async def _count_outcome(
    number: int, acknowledgement: asyncio.Future[Any], submission: Submission
) -> None:
    try:
        await acknowledgement
    except TOO_LARGE as error:
        submission.refuse(number, str(error))
    else:
        submission.sent_records += 1
