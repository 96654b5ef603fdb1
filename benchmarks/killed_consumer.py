"""A consumer replica in a process of its own, to be killed.

Run as ``python -m benchmarks.killed_consumer``. It is composed like ``consumer.replica.deployment``
composes one, without Serve, over a sleeping model in the same process. As under Serve it is a
static member of its group, and ends if its consumer loop fails. SIGTERM drains it.
"""

import argparse
import asyncio
import random
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson

from benchmarks.journal import JournalWriter
from benchmarks.models import Sleeper
from benchmarks.workloads import NOOP_URL
from consumer.kafka.source.source import KafkaSource
from consumer.loop.consumer_loop import ConsumerLoop
from consumer.replica.build import build_engine, loop_settings
from consumer.replica.kafka_publishing import kafka_publishing
from handoff.chunk import STATUS_OK
from handoff.clock import SystemClock
from schemas.settings.file import KafkaSettings, RouteSettings
from serve_models.chunks.call import Call

FAILED_STATUS = 3
_CHECK_EVERY_S = 0.25


class NotedSleeper(Sleeper):
    """A sleeper that writes to a journal when each record's sleep begins and ends.

    Args:
        journal: The journal.
        concurrency: Sleeps at a time.
    """

    def __init__(self, journal: JournalWriter, concurrency: int) -> None:
        super().__init__(concurrency=concurrency)
        self._journal = journal

    async def cancel(self, consumer: str, records: Mapping[int, Sequence[int]]) -> None:
        """Let go of nothing: what nobody wants is slept to its end."""

    async def _sleep(self, call: Call, index: int, line: bytes) -> None:
        request = orjson.loads(line)
        number, sleep_ms = int(request["custom_id"]), float(request["body"]["ms"])
        async with self._slots:
            self._journal.begin(number)
            await asyncio.sleep(sleep_ms / 1000)
            self._journal.end(number)
        call.answer(index, STATUS_OK, b'{"slept_ms":%d}' % sleep_ms)


def compose(kafka: KafkaSettings, route: RouteSettings, model: NotedSleeper) -> ConsumerLoop:
    """Return the consumer loop of the route's first consumer replica."""
    engine = build_engine(
        route_name="bench",
        route=route,
        urls=frozenset({NOOP_URL}),
        work_field="ms",
        consumer="killed-consumer",
        metadata_limit_characters=kafka.offset_metadata_max_bytes,
        jitter=random.Random(0),
    )
    source = KafkaSource(kafka, route, group_instance_id=f"{route.group}-0")
    return ConsumerLoop(
        engine=engine,
        source=source,
        publishing=kafka_publishing(kafka, route, engine=engine, source=source),
        model=model,
        clock=SystemClock(),
        settings=loop_settings(route),
    )


async def run(consumer: ConsumerLoop) -> int:
    """Run until SIGTERM or a failure, and return the exit status."""
    told_to_end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told_to_end.set)
    await consumer.start()
    ending = asyncio.ensure_future(told_to_end.wait())
    while not ending.done() and consumer.failure is None:
        await asyncio.wait([ending], timeout=_CHECK_EVERY_S)
    ending.cancel()
    status = 0 if consumer.failure is None else FAILED_STATUS
    await consumer.drain()
    return status


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kafka", required=True, help="the cluster's settings, as JSON")
    parser.add_argument("--route", required=True, help="the route's settings, as JSON")
    parser.add_argument("--journal", required=True, type=Path, help="where to note computations")
    parser.add_argument("--concurrency", required=True, type=int, help="sleeps at a time")
    arguments = parser.parse_args()
    model = NotedSleeper(JournalWriter(arguments.journal), arguments.concurrency)
    return asyncio.run(
        run(
            compose(
                KafkaSettings.model_validate_json(arguments.kafka),
                RouteSettings.model_validate_json(arguments.route),
                model,
            )
        )
    )


if __name__ == "__main__":
    sys.exit(main())
