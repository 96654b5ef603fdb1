"""From a route's delivery guarantee to its publishing and committing on Kafka."""

from consumer.engine.engine import Engine
from consumer.kafka.admin.admin import TopicAdmin
from consumer.kafka.sink.message_size import LARGEST_REQUEST_BYTES
from consumer.kafka.sink.sink import KafkaSink
from consumer.kafka.transactions.sink import KafkaTransactionalSink
from consumer.loop.at_least_once import AtLeastOnce
from consumer.loop.exactly_once import ExactlyOnce
from consumer.loop.publishing import Publishing
from consumer.ports import RecordSource
from consumer.replica.build import loop_settings
from handoff.clock import SystemClock
from schemas.settings.file import KafkaSettings, RouteSettings


def kafka_publishing(
    kafka: KafkaSettings, route: RouteSettings, *, engine: Engine, source: RecordSource
) -> Publishing:
    settings = loop_settings(route)
    if route.delivery == "exactly_once":
        return ExactlyOnce(
            engine=engine,
            source=source,
            sink=KafkaTransactionalSink(kafka, route, engine.events.published),
            clock=SystemClock(),
            settings=settings,
        )
    return AtLeastOnce(
        engine=engine,
        source=source,
        sink=KafkaSink(
            kafka, (route.results_topic, route.dead_letters_topic), engine.events.published
        ),
        clock=SystemClock(),
        settings=settings,
    )


async def result_limit_bytes(kafka: KafkaSettings, route: RouteSettings) -> int:
    """Return the most bytes, with key and headers, of one record on the results topic."""
    async with TopicAdmin(kafka) as admin:
        limits_bytes = await admin.message_limits_bytes([route.results_topic])
    return min(limits_bytes[route.results_topic], LARGEST_REQUEST_BYTES)
