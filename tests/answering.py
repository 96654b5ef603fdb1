"""A service in a thread: answers the requests of one route without a model or Ray."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import ConsumerRecord

Answer = tuple[str, bytes | None, Sequence[tuple[str, bytes | None]]]
"""A topic, a value, and headers beside those of the request and its source."""


@dataclass(frozen=True)
class Topics:
    requests: str
    results: str
    dead_letters: str


@contextmanager
def answering(
    bootstrap: str, topics: Topics, answer: Callable[[ConsumerRecord], Sequence[Answer]]
) -> Iterator[None]:
    """Publish what ``answer`` returns for each request from now on, with the request's key."""
    ready, stopped = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def run() -> None:
        consumer = AIOKafkaConsumer(
            topics.requests, bootstrap_servers=bootstrap, auto_offset_reset="earliest"
        )
        async with consumer, AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
            await consumer.seek_to_end()
            for partition in consumer.assignment():
                await consumer.position(partition)
            ready.set()
            while not stopped.is_set():
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    for record in records:
                        for topic, value, headers in answer(record):
                            await producer.send(
                                topic,
                                value,
                                key=record.key,
                                headers=[*record.headers, source_header(record), *headers],
                            )
                        await producer.flush()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert ready.wait(30)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(30)
        loop.close()


def source_header(record: ConsumerRecord) -> tuple[str, bytes]:
    return ("headrace-source", f"{record.topic}/{record.partition}/{record.offset}".encode())
