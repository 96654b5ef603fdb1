"""Faults inside a consumer process: batches that fail, slow commits, a loading coordinator.

A line of JSON on the process's standard input switches them on. The wrappers are around the Kafka
client; the service's own code is unchanged.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, errors
from aiokafka.client import ConnectionGroup
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.protocol.api import Request
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import EndTxnRequest, TxnOffsetCommitRequest

from consumer.kafka.client import internals
from consumer.kafka.client.cluster_client import ClusterClient
from consumer.ports import OffsetAndMetadata, TopicPartition
from tests.chaos.faults.loading import answer

_DECIDING_REQUESTS = (ProduceRequest, TxnOffsetCommitRequest, EndTxnRequest)


class Injection:
    """What fails next."""

    def __init__(self) -> None:
        self.refused_batches = 0
        self.unknown_batches = 0
        self.commit_delay_s = 0.0
        self._loading_answers = 0
        self._answered: Counter[int] = Counter()

    @property
    def loading_answers(self) -> int:
        """How many requests of each kind the group's coordinator answers with 'loading'."""
        return self._loading_answers

    @loading_answers.setter
    def loading_answers(self, count: int) -> None:
        self._loading_answers = count
        self._answered.clear()

    def install(self) -> None:
        """Wrap the client's producing and committing."""
        self._wrap_send_batch()
        self._wrap_transactions()
        self._wrap_commit()
        self._wrap_coordinator()

    def _wrap_send_batch(self) -> None:
        sound = AIOKafkaProducer.send_batch

        async def send_batch(producer: AIOKafkaProducer, *args: Any, **kwargs: Any) -> Any:
            if self._takes_refusal():
                raise errors.RequestTimedOutError("injected: the batch was not sent")
            sent = await sound(producer, *args, **kwargs)
            return self._perhaps_unknown(sent)

        AIOKafkaProducer.send_batch = send_batch

    def _wrap_transactions(self) -> None:
        sound = ClusterClient._send

        async def send(
            client: ClusterClient, broker: int, request: Request[Any], group: ConnectionGroup
        ) -> Any:
            if (loading := self._loading(request)) is not None:
                return loading
            if isinstance(request, EndTxnRequest):
                await asyncio.sleep(self.commit_delay_s)
            if isinstance(request, ProduceRequest) and self._takes_refusal():
                raise errors.RequestTimedOutError("injected: the batch was not sent")
            response = await sound(client, broker, request, group)
            if isinstance(request, _DECIDING_REQUESTS) and self._takes_unknown():
                raise errors.RequestTimedOutError("injected: it was sent, the answer is lost")
            return response

        ClusterClient._send = send  # type: ignore[method-assign, assignment]

    def _wrap_commit(self) -> None:
        sound = internals.commit_once

        async def commit_once(
            consumer: AIOKafkaConsumer,
            points: Mapping[TopicPartition, OffsetAndMetadata],
            expected: int,
        ) -> None:
            await asyncio.sleep(self.commit_delay_s)
            await sound(consumer, points, expected)

        internals.commit_once = commit_once

    def _wrap_coordinator(self) -> None:
        sound = GroupCoordinator._send_req

        async def send(coordinator: GroupCoordinator, request: Request[Any]) -> Any:
            if (loading := self._loading(request)) is not None:
                return loading
            return await sound(coordinator, request)

        GroupCoordinator._send_req = send

    def _loading(self, request: Request[Any]) -> Any:
        """Return a loading coordinator's answer, or ``None`` if the real one is to answer."""
        key = request.API_KEY
        if self._answered[key] >= self._loading_answers:
            return None
        self._answered[key] += 1
        return answer(request, self._answered[key])

    def _takes_refusal(self) -> bool:
        self.refused_batches -= 1
        return self.refused_batches >= 0

    def _takes_unknown(self) -> bool:
        self.unknown_batches -= 1
        return self.unknown_batches >= 0

    def _perhaps_unknown(self, sent: Any) -> Any:
        return asyncio.ensure_future(_lose_answer(sent)) if self._takes_unknown() else sent


async def _lose_answer(sent: Any) -> Any:
    await sent
    raise errors.RequestTimedOutError("injected: the batch was sent, its answer is lost")
