"""A stand-in for the service: reads a requests topic in a group, and answers in its place.

A text's vector follows from the text alone, so that what should be in OUT is known beforehand.
"""

import asyncio
import base64
import hashlib
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from numpy.typing import NDArray

DIMENSIONS = 8
_STOP_S = 60.0
POISON = "poison"
"""A request with such a text is refused as a whole."""
GRIEF = "grief"
"""A request with such a text is given up; another attempt may succeed."""


def vector_of(text: str) -> NDArray[np.float32]:
    digest = hashlib.blake2b(text.encode(), digest_size=DIMENSIONS).digest()
    vector: NDArray[np.float32] = np.frombuffer(digest, dtype=np.uint8).astype(np.float32)
    return vector


@dataclass
class Answering:
    """What the stand-in did, and how it is told to behave.

    Attributes:
        computed: How often each text was computed.
        open: Requests are answered while it is set.
        most_requests: Requests answered before it closes itself; ``None`` for all.
    """

    bootstrap: str
    requests_topic: str
    results_topic: str
    group: str
    computed: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    is_healed: bool = False
    open: threading.Event = field(default_factory=threading.Event)
    most_requests: int | None = None
    delay_s: float = 0.0
    on_request: Callable[[int], None] | None = None
    headers: list[dict[str, str]] = field(default_factory=list)

    def options(self) -> list[str]:
        """Arguments of the command that name this service."""
        return [
            *("--bootstrap", self.bootstrap),
            *("--requests-topic", self.requests_topic),
            *("--results-topic", self.results_topic),
            *("--group", self.group),
        ]

    def answer(self, place: str, value: bytes) -> bytes:
        line = orjson.loads(value)
        self.requests += 1
        body = line["body"]
        result: dict[str, Any] = {"id": place, "custom_id": line["custom_id"], "error": None}
        if "messages" in body:
            text = body["messages"][-1]["content"]
            self.computed[text] += 1
            said: dict[str, Any] = {"choices": [{"message": {"content": text.upper()}}]}
            result["response"] = {"status_code": 200, "request_id": place, "body": said}
            return orjson.dumps(result)
        texts = body["input"]
        if any(POISON in each for each in texts):
            said = {"error": {"message": "input: is poison", "code": "invalid_value"}}
            result["response"] = {"status_code": 400, "request_id": place, "body": said}
            return orjson.dumps(result)
        if any(GRIEF in each for each in texts) and not self.is_healed:
            result["response"] = None
            result["error"] = {"code": "model_failed", "message": "the model has grief"}
            return orjson.dumps(result)
        self.computed.update(texts)
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(vector_of(each).tobytes()).decode(),
            }
            for index, each in enumerate(texts)
        ]
        usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
        result["response"] = {
            "status_code": 200,
            "request_id": place,
            "body": {"object": "list", "data": data, "model": "stand-in", "usage": usage},
        }
        return orjson.dumps(result)


async def create_topics(bootstrap: str, topics: list[str], partitions: int = 4) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(each, partitions, 1) for each in topics])
    finally:
        await admin.close()


def named_service(bootstrap: str) -> Answering:
    """Return a service with topics of its own, which does not answer yet."""
    name = f"bulk-{uuid.uuid4().hex[:8]}"
    service = Answering(bootstrap, f"{name}.requests", f"{name}.results", f"{name}-group")
    service.open.set()
    asyncio.run(create_topics(bootstrap, [service.requests_topic, service.results_topic]))
    return service


@contextmanager
def answering(service: Answering) -> Iterator[Answering]:
    """Answer in a thread of its own, until the end of the block."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(_serve(service, stop))
        except BaseException as error:  # noqa: BLE001 - the test's thread raises it
            failures.append(error)

    thread = threading.Thread(target=run, name="answering", daemon=True)
    thread.start()
    try:
        yield service
    finally:
        stop.set()
        thread.join(_STOP_S)
    assert not thread.is_alive(), f"the stand-in for the service has not ended after {_STOP_S:g} s"
    if failures:
        raise failures[0]


async def _serve(service: Answering, stop: threading.Event) -> None:
    consumer = AIOKafkaConsumer(
        service.requests_topic,
        bootstrap_servers=service.bootstrap,
        group_id=service.group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    producer = AIOKafkaProducer(bootstrap_servers=service.bootstrap)
    await consumer.start()
    await producer.start()
    try:
        while not stop.is_set():
            if not service.open.is_set():
                await asyncio.sleep(0.02)
                continue
            batches = await consumer.getmany(timeout_ms=50, max_records=20)
            sends = []
            for partition, records in batches.items():
                for record in records:
                    place = f"{partition.topic}-{partition.partition}-{record.offset}"
                    headers = {k: v.decode() for k, v in record.headers}
                    service.headers.append(headers)
                    topic = headers.get("headrace-reply-topic", service.results_topic)
                    answer = service.answer(place, record.value)
                    sends.append(await producer.send(topic, answer))
                    if service.delay_s:
                        await asyncio.sleep(service.delay_s)
                    if service.on_request is not None:
                        service.on_request(service.requests)
            if sends:
                await asyncio.gather(*sends)
                await consumer.commit()
    finally:
        await producer.stop()
        await consumer.stop()
