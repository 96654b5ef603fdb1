"""The id of the topic that has a name: a topic that is created again has another one.

Offsets in the old topic mean nothing in the new one, however many records that holds. Metadata 10
(KIP-516, Kafka 2.8) is the first version with ids; aiokafka 0.14 has versions up to 5.
"""
# ruff: noqa: SLF001 - nothing public sends a request to whatever broker is there

import asyncio
import logging
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer

from consumer.engine.offsets.completion_map import log_id_from
from consumer.ports import SourceError
from headrace_client.kafka.identity import ask_topic_id

log = logging.getLogger(__name__)

LOOK_AGAIN_AFTER_S = 5.0
"""How soon a topic that was created again is noticed while it is read."""


class TopicIdentity:
    """Notices when another topic has the name; ``log_id`` is empty if no broker gives an id."""

    def __init__(self, consumer: AIOKafkaConsumer, topic: str) -> None:
        self._consumer = consumer
        self._topic = topic
        self._knows_ids = True
        self.log_id = b""

    async def look(self) -> None:
        """Ask a broker for the id; ``SourceError`` if another topic has the name."""
        if not self._knows_ids:
            return
        found = await ask_topic_id(self._consumer._client, self._topic)
        if found is None:
            log.info(
                "the brokers have no topic ids; Kafka has since 2.8",
                extra={"event": "topic_ids_missing"},
            )
            self._knows_ids = False
        log_id = log_id_from(found)
        if self.log_id and log_id and log_id != self.log_id:
            raise SourceError(
                f"topic {self._topic} was deleted and created again while it was read: the "
                "consumer starts afresh on the new one"
            )
        self.log_id = log_id or self.log_id

    async def watch(self, on_change: Callable[[SourceError], object]) -> None:
        while True:
            await asyncio.sleep(LOOK_AGAIN_AFTER_S)
            try:
                await self.look()
            except SourceError as error:
                on_change(error)
                return
