"""A consumer replica as a process: ``python -m tests.chaos.stage.member CONFIG.json``.

It is composed like ``consumer.replica.deployment`` composes one, without Serve, so that a kill or a
freeze hits exactly one consumer. Commands are lines of JSON on standard input; reports are lines of
JSON on standard output. As under Serve, a consumer loop that fails ends the process.
"""

import asyncio
import json
import logging
import os
import random
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from consumer.kafka.source.source import KafkaSource
from consumer.loop.consumer_loop import ConsumerLoop
from consumer.replica.build import build_engine, loop_settings
from consumer.replica.kafka_publishing import kafka_publishing
from handoff.clock import SystemClock
from schemas.settings.file import KafkaSettings, RouteSettings
from tests.chaos.faults import planted
from tests.chaos.faults.injection import Injection
from tests.chaos.load.records import URL
from tests.chaos.stage.model_client import ChaosModelClient

REPORT_EVERY_S = 0.25
FAILED_STATUS = 3


def compose(
    kafka: KafkaSettings, route: RouteSettings, ports: list[int], name: str, rank: int
) -> ConsumerLoop:
    """Return a consumer loop over the chaos model."""
    engine = build_engine(
        route_name="chaos",
        route=route,
        urls=frozenset({URL}),
        consumer=name,
        metadata_limit_characters=kafka.offset_metadata_max_bytes,
        jitter=random.Random(name),
    )
    instance_id = f"{route.group}-{rank}" if route.membership.static else None
    source = KafkaSource(kafka, route, group_instance_id=instance_id)
    return ConsumerLoop(
        engine=engine,
        source=source,
        publishing=kafka_publishing(kafka, route, engine=engine, source=source),
        model=ChaosModelClient(ports),
        clock=SystemClock(),
        settings=loop_settings(route),
    )


async def run(config: dict[str, Any]) -> int:
    """Run one consumer replica until it must drain, or fails; return its exit status."""
    if bug := os.environ.get(planted.VARIABLE):
        planted.plant(planted.Bug(bug))
    injection = Injection()
    injection.install()
    consumer = compose(
        KafkaSettings.model_validate(config["kafka"]),
        RouteSettings.model_validate(config["route"]),
        config["model_ports"],
        config["name"],
        config["rank"],
    )
    commands = await _open_stdin()
    await consumer.start()
    told_to_drain = asyncio.ensure_future(_obey(commands, injection))
    status = 0
    while not told_to_drain.done():
        _report(consumer)
        if consumer.failure is not None:
            status = FAILED_STATUS
            break
        await asyncio.wait([told_to_drain], timeout=REPORT_EVERY_S)
    told_to_drain.cancel()
    await consumer.drain()
    return status


async def _obey(commands: asyncio.StreamReader, injection: Injection) -> None:
    while line := await commands.readline():
        command = json.loads(line)
        if command.pop("drain", False):
            return
        for name, value in command.items():
            setattr(injection, name, value)


def _report(consumer: ConsumerLoop) -> None:
    report = {
        "partitions": [each.partition for each in consumer.engine.partitions],
        "counters": asdict(consumer.engine.counters),
        "failure": None if consumer.failure is None else repr(consumer.failure),
    }
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()


async def _open_stdin() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s", level=logging.INFO)
    sys.exit(asyncio.run(run(json.loads(Path(sys.argv[1]).read_text()))))
