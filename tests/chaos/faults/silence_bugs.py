"""Known bugs about missing answers; ``planted`` plants them."""

import math
from collections.abc import Collection

from aiokafka import AIOKafkaConsumer

from consumer.engine.calls.attempt_timeout import AttemptTimeout
from consumer.kafka.client import internals
from consumer.kafka.client.cluster_client import numbers_by_topic
from consumer.kafka.client.offsets import CommittedOffsetsRequest, read_points
from consumer.kafka.group.session import Session
from consumer.ports import OffsetAndMetadata, TopicPartition


def wait_for_a_hung_model() -> None:
    """Never give a call up, however long it is silent."""

    def limit_s(self: AttemptTimeout, earlier_timeouts: int) -> float:
        return math.inf

    AttemptTimeout.limit_s = limit_s  # type: ignore[method-assign]


def take_loading_for_nothing_committed() -> None:
    """Read only the partitions of an answer: a loading coordinator names none."""

    async def committed(
        consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition], *, require_stable: bool
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        coordinator = consumer._coordinator
        await coordinator.ensure_coordinator_known()
        request = CommittedOffsetsRequest(
            coordinator.group_id, numbers_by_topic(partitions), require_stable=require_stable
        )
        _codes, points = read_points(await coordinator._send_req(request))
        return {each: points.get(each) for each in partitions}

    internals.committed = committed


def outlive_the_session() -> None:
    """Continue as long as the leaders answer, whether or not the coordinator does."""
    Session.unheard_s = property(lambda _self: 0.0)  # type: ignore[method-assign, assignment]
