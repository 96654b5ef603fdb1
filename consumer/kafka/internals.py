"""The few things that aiokafka 0.14 knows and does not tell, read in this one place.

Its consumer offers neither the group's generation, nor an offset commit that is sent once, nor
committed metadata, nor a position without waiting. The coordinator underneath has them all. The
contract suite runs against a real broker, so that an aiokafka that moves them is noticed.
"""
# ruff: noqa: SLF001 - that is this module's purpose

import contextlib
from collections.abc import Collection, Mapping

from aiokafka import AIOKafkaConsumer, errors
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.structs import TopicPartition as KafkaPartition

from consumer.core.assignment import NEVER_ASSIGNED
from consumer.core.ports import CommitPoint, CommitRefusedError, TopicPartition

_REFUSALS = (
    errors.UnknownMemberIdError,
    errors.IllegalGenerationError,
    errors.RebalanceInProgressError,
)
_MOVED_COORDINATOR = (
    errors.GroupCoordinatorNotAvailableError,
    errors.NotCoordinatorForGroupError,
    errors.RequestTimedOutError,
)


def generation(consumer: AIOKafkaConsumer) -> int:
    """Return the group's generation that the member is in; -1 where it is in none."""
    coordinator = consumer._coordinator
    return NEVER_ASSIGNED if coordinator is None else int(coordinator.generation)


def position(consumer: AIOKafkaConsumer, partition: KafkaPartition) -> int | None:
    """Return the next offset that will be read, where that is known already."""
    subscription = consumer._subscription.subscription
    if subscription is None or subscription.assignment is None:
        return None
    state = subscription.assignment.state_value(partition)
    if state is None or not state.has_valid_position:
        return None
    return int(state.position)


async def committed(
    consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, CommitPoint | None]:
    """Return the group's committed points; retries for as long as the coordinator is away.

    Raises:
        errors.KafkaError: What retrying does not cure.
    """
    found = await consumer._coordinator.fetch_committed_offsets(
        [KafkaPartition(*partition) for partition in partitions]
    )
    points: dict[TopicPartition, CommitPoint | None] = {}
    for partition in partitions:
        point = found.get(KafkaPartition(*partition))
        points[partition] = (
            None if point is None else CommitPoint(point.offset, point.metadata or "")
        )
    return points


async def commit_once(
    consumer: AIOKafkaConsumer, points: Mapping[TopicPartition, CommitPoint], expected: int
) -> None:
    """Send one offset commit, under generation ``expected`` or not at all.

    aiokafka's own ``commit`` sends again after a passing failure, under whatever generation it has
    by then, and so overwrites what a new owner has committed. It also gives up its member id on a
    refusal; that is left to the heartbeat, which is told the same by the broker.

    Raises:
        CommitRefusedError: The group has moved on.
        errors.KafkaError: Anything else; sending again may help where it is ``retriable``.
    """
    coordinator = consumer._coordinator
    await coordinator.ensure_coordinator_known()
    if coordinator.generation != expected:
        raise CommitRefusedError(
            f"the group is in generation {coordinator.generation}, the commit is of {expected}"
        )
    offsets: dict[str, list[tuple[int, int, str]]] = {}
    for partition, point in points.items():
        offsets.setdefault(partition.topic, []).append(
            (partition.partition, point.offset, point.metadata)
        )
    request = OffsetCommitRequest(
        coordinator.group_id,
        expected,
        coordinator.member_id,
        OffsetCommitRequest.DEFAULT_RETENTION_TIME,
        list(offsets.items()),
    )
    response = await coordinator._send_req(request)
    codes = {code for _topic, results in response.topics for _partition, code in results}
    for kind in sorted(map(errors.for_code, codes - {0}), key=lambda kind: kind.__name__):
        if kind in _REFUSALS:
            raise CommitRefusedError(f"the broker refused the commit: {kind.__name__}")
        if kind in _MOVED_COORDINATOR:
            coordinator.coordinator_dead()
        raise kind()


async def abandon(consumer: AIOKafkaConsumer) -> None:
    """Finish a ``stop`` that was cut off, without waiting for a rebalance to end.

    Leaves the group where its coordinator can be reached.
    """
    coordinator = consumer._coordinator
    if coordinator is not None:
        task = coordinator._coordination_task
        task.cancel()
        # It may also end by a failure of its own; it is over either way.
        with contextlib.suppress(BaseException):
            await task
        await coordinator._stop_heartbeat_task()
        await coordinator._stop_commit_offsets_refresh_task()
        await coordinator._maybe_leave_group()
    if consumer._fetcher is not None:
        await consumer._fetcher.close()
    await consumer._client.close()
