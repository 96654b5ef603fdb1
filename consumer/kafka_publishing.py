"""From a route's delivery guarantee to what publishes and commits for it on Kafka."""

from consumer.build import pipeline_settings
from consumer.clock import SystemClock
from consumer.core.engine import Engine
from consumer.core.ports import RecordSource
from consumer.kafka.sink import KafkaSink
from consumer.kafka.transactions import KafkaTransactionalSink
from consumer.publishing import AtLeastOnce, Publishing
from consumer.transacting import ExactlyOnce
from schemas.settings import KafkaSettings, RouteSettings


def kafka_publishing(
    kafka: KafkaSettings, route: RouteSettings, *, engine: Engine, source: RecordSource
) -> Publishing:
    """Return what publishes the engine's outcomes by the route's ``delivery``.

    Args:
        kafka: The cluster.
        route: The route.
        engine: Whose outcomes.
        source: The route's member of the group.
    """
    settings = pipeline_settings(route)
    if route.delivery == "exactly_once":
        return ExactlyOnce(
            engine=engine,
            source=source,
            sink=KafkaTransactionalSink(kafka, route),
            clock=SystemClock(),
            settings=settings,
        )
    return AtLeastOnce(
        engine=engine,
        source=source,
        sink=KafkaSink(kafka, (route.results_topic, route.dead_letters_topic)),
        clock=SystemClock(),
        settings=settings,
    )
