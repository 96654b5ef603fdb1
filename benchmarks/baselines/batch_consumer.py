"""The consumer that people write first: poll a batch, wait for all of it, publish, commit."""

from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.load import Topics
from handoff.chunk import Chunk
from schemas.wire.results import encode_response_line

MOST_RECORDS = 256


async def consume_in_batches(bootstrap: str, topics: Topics, handle: Any) -> None:
    """Read requests, hand each poll's to the model at once, and publish when all are answered.

    It runs until it is cancelled.

    Args:
        bootstrap: The broker.
        topics: What it reads and writes.
        handle: The model's handle for streaming calls of ``infer``.
    """
    consumer = AIOKafkaConsumer(
        topics.requests,
        bootstrap_servers=bootstrap,
        group_id=f"{topics.requests}-batches",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await consumer.start()
    await producer.start()
    try:
        while True:
            fetched = await consumer.getmany(timeout_ms=100, max_records=MOST_RECORDS)
            lines = [record.value for records in fetched.values() for record in records]
            if not lines:
                continue
            results: dict[int, bytes] = {}
            async for outcomes in handle.remote(Chunk("batches", lines)):
                for index, status, body in zip(
                    outcomes.indexes, outcomes.statuses, outcomes.bodies, strict=True
                ):
                    custom_id = orjson.loads(lines[index])["custom_id"]
                    results[index] = encode_response_line(custom_id, custom_id, status, body)
            for index in sorted(results):
                await producer.send_and_wait(topics.results, results[index])
            await consumer.commit()
    finally:
        await consumer.stop()
        await producer.stop()
