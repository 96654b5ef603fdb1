"""A consumer replica as a process, to be killed: ``python -m tests.integration.reply_member``.

Standard input holds its settings, a JSON object of ``kafka`` and ``route``.
"""

import asyncio
import json
import random
import sys
from typing import Any

from consumer.kafka.source.source import KafkaSource
from consumer.loop.consumer_loop import ConsumerLoop
from consumer.replica.build import build_engine, loop_settings
from consumer.replica.kafka_publishing import kafka_publishing
from handoff.clock import SystemClock
from schemas.settings.file import KafkaSettings, RouteSettings
from tests.counting_model import CountingModel

URL = "/v1/embeddings"


async def run(config: dict[str, Any]) -> None:
    kafka = KafkaSettings.model_validate(config["kafka"])
    route = RouteSettings.model_validate(config["route"])
    engine = build_engine(
        route_name="embeddings",
        route=route,
        urls=frozenset({URL}),
        consumer=f"{random.random()}",
        metadata_limit_characters=kafka.offset_metadata_max_bytes,
        jitter=random.Random(7),
    )
    source = KafkaSource(kafka, route, group_instance_id="member-0")
    consumer = ConsumerLoop(
        engine=engine,
        source=source,
        publishing=kafka_publishing(kafka, route, engine=engine, source=source),
        model=CountingModel(),
        clock=SystemClock(),
        settings=loop_settings(route),
    )
    await consumer.start()
    while True:
        consumer.check()
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(run(json.load(sys.stdin)))
