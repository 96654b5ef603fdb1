"""A bare consume-produce loop: what aiokafka alone does with the same records.

Run as ``python -m benchmarks.baselines.aiokafka_loop``: joins a group, copies every record from
one topic to another in batches, and commits after the output was acknowledged.
"""

import argparse
import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

POLL_RECORDS = 5_000


async def copy(arguments: argparse.Namespace) -> None:
    """Copy ``arguments.records`` records."""
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
    try:
        while left > 0:
            fetched = await consumer.getmany(timeout_ms=500, max_records=POLL_RECORDS)
            deliveries = []
            for partition, records in fetched.items():
                left -= len(records)
                batch = producer.create_batch()
                for record in records:
                    if batch.append(timestamp=None, key=record.key, value=record.value) is None:
                        deliveries.append(
                            await producer.send_batch(
                                batch, arguments.sink, partition=partition.partition
                            )
                        )
                        batch = producer.create_batch()
                        batch.append(timestamp=None, key=record.key, value=record.value)
                deliveries.append(
                    await producer.send_batch(batch, arguments.sink, partition=partition.partition)
                )
            if deliveries:
                await asyncio.gather(*deliveries)
                await consumer.commit()
    finally:
        await consumer.stop()
        await producer.stop()


def main() -> None:
    """Read the command line and copy."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--bootstrap", "--source", "--sink", "--group"):
        parser.add_argument(name, required=True)
    parser.add_argument("--records", type=int, required=True)
    asyncio.run(copy(parser.parse_args()))


if __name__ == "__main__":
    main()
