"""Finds which open transactions block a route's readers, from the brokers alone."""

from collections.abc import Awaitable, Callable, Collection, Mapping

from consumer.engine.waiting.waits import open_transaction
from consumer.kafka.admin.open_producers import open_producers
from consumer.kafka.client.producers import OpenProducer
from consumer.ports import TopicPartition
from handoff.clock import Clock
from headrace.status.partition_lag import PartitionLag
from schemas.settings.file import KafkaSettings, Settings

ASK_EVERY_S = 30.0
ASK_TIMEOUT_S = 3.0

Ask = Callable[
    [KafkaSettings, Collection[TopicPartition], float],
    Awaitable[dict[TopicPartition, OpenProducer]],
]


class OpenTransactionLines:
    """Describes open transactions; asks only from time to time which producers have them."""

    def __init__(self, settings: Settings, clock: Clock, ask: Ask = open_producers) -> None:
        self._settings = settings
        self._clock = clock
        self._ask = ask
        self._asked_at_s: float | None = None
        self._producers: Mapping[TopicPartition, OpenProducer] = {}

    async def of(self, lags: Mapping[str, list[PartitionLag]]) -> dict[str, list[str]]:
        topics = {name: route.requests_topic for name, route in self._settings.routes.items()}
        blocked = {
            TopicPartition(topics[name], each.partition)
            for name, partitions in lags.items()
            for each in partitions
            if each.blocked_records
        }
        if not blocked:
            return {}
        now_s = self._clock.monotonic()
        if self._asked_at_s is None or now_s - self._asked_at_s >= ASK_EVERY_S:
            self._asked_at_s = now_s
            self._producers = await self._ask(self._settings.kafka, blocked, ASK_TIMEOUT_S)
        return {
            name: [self._line(topics[name], each) for each in partitions if each.blocked_records]
            for name, partitions in lags.items()
        }

    def _line(self, topic: str, lag: PartitionLag) -> str:
        producer = self._producers.get(TopicPartition(topic, lag.partition))
        details = ""
        # One that was known before may have ended since, and another have begun.
        if producer is not None and producer.since_offset == lag.log_end:
            silent_s = (self._clock.epoch_ms() - producer.last_ms) / 1000
            details = (
                f"; producer {producer.producer_id} wrote last {_time(silent_s)} ago, and if it is "
                "gone, this ends it: `kafka-transactions.sh --bootstrap-server "
                f"{self._settings.kafka.bootstrap} abort --topic {topic} --partition "
                f"{lag.partition} --start-offset {producer.since_offset}`"
            )
        return open_transaction(topic, lag.partition, lag.log_end, lag.blocked_records, details)


def _time(duration_s: float) -> str:
    for unit_s, unit in ((3600, "h"), (60, "min")):
        if duration_s >= 2 * unit_s:
            return f"{duration_s / unit_s:.0f} {unit}"
    return f"{max(0.0, duration_s):.0f} s"
