"""A backlog's batches, built by aiokafka and sent nowhere."""

import asyncio
from typing import Any

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder

from benchmarks import load
from benchmarks.workloads import noop_lines, request_headers


class Producer:
    """Counts what it is to send."""

    def __init__(self, **_options: Any) -> None:
        self.sent_records = 0

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(load.BATCH_BYTES, 0)

    async def send_batch(
        self, batch: BatchBuilder, _topic: str, *, partition: int
    ) -> asyncio.Future[None]:
        assert partition < load.PARTITIONS
        self.sent_records += batch.record_count()
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sent.set_result(None)
        return sent


@pytest.mark.parametrize("headers", [(), request_headers(1_800_000_000_000)])
async def test_all_of_a_backlog_is_sent_with_its_headers(
    headers: load.Headers, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = Producer()
    monkeypatch.setattr(load, "AIOKafkaProducer", lambda **_options: producer)

    assert await load.publish("broker:9092", "requests", noop_lines(3_000), headers) == 3_000
    assert producer.sent_records == 3_000
