"""A bare consume-produce loop: what aiokafka alone does with the same records.

Run as ``python -m benchmarks.baselines.aiokafka_loop``. It joins a group, copies every record from
one topic to another, and commits after the output of each poll was acknowledged. ``--api send`` is
the loop of aiokafka's documentation; ``--api batch`` builds whole batches with the calls that
Headrace uses too.
"""

import argparse
import asyncio
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import ConsumerRecord

SEND_POLL_RECORDS = 256
BATCH_POLL_RECORDS = 5_000

Delivery = asyncio.Future[object]


async def copy(arguments: argparse.Namespace) -> None:
    """Copy ``arguments.records`` records."""
    by_batch = arguments.api == "batch"
    consumer = AIOKafkaConsumer(
        arguments.source,
        bootstrap_servers=arguments.bootstrap,
        group_id=arguments.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=arguments.bootstrap, max_batch_size=256 * 1024, enable_idempotence=True
    )
    await producer.start()
    await consumer.start()
    left = arguments.records
    poll_records = BATCH_POLL_RECORDS if by_batch else SEND_POLL_RECORDS
    try:
        while left > 0:
            fetched = await consumer.getmany(timeout_ms=500, max_records=poll_records)
            deliveries: list[Delivery] = []
            for partition, records in fetched.items():
                left -= len(records)
                if by_batch:
                    to = partition.partition
                    deliveries += await send_batches(producer, records, arguments.sink, to)
                else:
                    for record in records:
                        deliveries.append(
                            await producer.send(arguments.sink, record.value, key=record.key)
                        )
            if deliveries:
                await asyncio.gather(*deliveries)
                await consumer.commit()
    finally:
        await consumer.stop()
        await producer.stop()


async def send_batches(
    producer: AIOKafkaProducer, records: Sequence[ConsumerRecord], sink: str, partition: int
) -> list[Delivery]:
    """Hand whole batches to the producer; return their acknowledgements to await."""
    deliveries: list[Delivery] = []
    batch = producer.create_batch()
    for record in records:
        if batch.append(timestamp=None, key=record.key, value=record.value) is None:
            deliveries.append(await producer.send_batch(batch, sink, partition=partition))
            batch = producer.create_batch()
            batch.append(timestamp=None, key=record.key, value=record.value)
    deliveries.append(await producer.send_batch(batch, sink, partition=partition))
    return deliveries


def main() -> None:
    """Read the command line and copy."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--bootstrap", "--source", "--sink", "--group"):
        parser.add_argument(name, required=True)
    parser.add_argument("--api", choices=("send", "batch"), required=True)
    parser.add_argument("--records", type=int, required=True)
    asyncio.run(copy(parser.parse_args()))


if __name__ == "__main__":
    main()
