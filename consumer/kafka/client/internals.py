"""aiokafka 0.14's private parts, all used in this one place.

Its consumer has no public way to the group's generation, to an offset commit that is sent once, to
committed metadata, or to a position without waiting. Its coordinator and its fetcher have them. The
contract suite runs against a real broker, and notices an aiokafka that moves them.
"""
# ruff: noqa: SLF001 - that is this module's purpose

import asyncio
import contextlib
from collections.abc import Collection, Mapping

from aiokafka import AIOKafkaConsumer, errors
from aiokafka.cluster import ClusterMetadata
from aiokafka.consumer.fetcher import OffsetResetStrategy
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.structs import TopicPartition as KafkaPartition

from consumer.kafka.client.cluster_client import numbers_by_topic
from consumer.kafka.client.offsets import CommittedOffsetsRequest, read_points
from consumer.kafka.group.assignment import NEVER_ASSIGNED
from consumer.kafka.transactions.errors import NONE, UNSTABLE_OFFSET_COMMIT, NextStep, next_step
from consumer.ports import CommitRefusedError, OffsetAndMetadata, TopicPartition

_REFUSALS = (
    errors.UnknownMemberIdError,
    errors.IllegalGenerationError,
    errors.RebalanceInProgressError,
)
_OFFSETS_RETRY_S = 0.02
_LONGEST_OFFSETS_RETRY_S = 0.2
_MOVED_COORDINATOR = (
    errors.GroupCoordinatorNotAvailableError,
    errors.NotCoordinatorForGroupError,
    errors.RequestTimedOutError,
)


def generation(consumer: AIOKafkaConsumer) -> int:
    coordinator = consumer._coordinator
    return NEVER_ASSIGNED if coordinator is None else int(coordinator.generation)


def position(consumer: AIOKafkaConsumer, partition: KafkaPartition) -> int | None:
    subscription = consumer._subscription.subscription
    if subscription is None or subscription.assignment is None:
        return None
    state = subscription.assignment.state_value(partition)
    if state is None or not state.has_valid_position:
        return None
    return int(state.position)


def cluster(consumer: AIOKafkaConsumer) -> ClusterMetadata:
    return consumer._client.cluster


def blocked(consumer: AIOKafkaConsumer, partition: KafkaPartition) -> tuple[int, int] | None:
    """Return where an open transaction stops reading, and how many offsets are beyond."""
    at = position(consumer, partition)
    if at is None:
        return None
    state = consumer._subscription.subscription.assignment.state_value(partition)
    if state.lso is None or state.highwater is None or not state.lso <= at < state.highwater:
        return None
    return int(state.lso), int(state.highwater) - at


def fetched_log_ends(
    consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition], since_ms: int
) -> dict[TopicPartition, int]:
    """Return where fetches since an epoch time have found that reading ends."""
    subscription = consumer._subscription.subscription
    if subscription is None or subscription.assignment is None:
        return {}
    found = {}
    for partition in partitions:
        state = subscription.assignment.state_value(KafkaPartition(*partition))
        if state is not None and state.lso is not None and state.timestamp >= since_ms:
            found[partition] = int(state.lso)
    return found


async def committed(
    consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition], *, require_stable: bool
) -> dict[TopicPartition, OffsetAndMetadata | None]:
    """Return the group's committed points; retries while the coordinator is away.

    aiokafka's own ``committed`` reads the partitions' error codes only. A coordinator that loads or
    has moved sets the response's code and names no partition, which aiokafka takes for 'nothing was
    ever committed'. ``require_stable`` waits until no transaction on the points is undecided.
    """
    coordinator = consumer._coordinator
    topics = numbers_by_topic(partitions)
    retry_s = _OFFSETS_RETRY_S
    while True:
        await coordinator.ensure_coordinator_known()
        request = CommittedOffsetsRequest(
            coordinator.group_id, topics, require_stable=require_stable
        )
        try:
            codes, points = read_points(await coordinator._send_req(request))
        except errors.KafkaError as error:
            if not error.retriable:
                raise
            codes, points = {errors.RequestTimedOutError.errno}, {}
        codes -= {NONE}
        if not codes and points.keys() >= set(partitions):
            return points
        for code in codes:
            if next_step(code) not in (NextStep.SOON, NextStep.MOVED):
                raise errors.for_code(code)(coordinator.group_id)
        if codes != {UNSTABLE_OFFSET_COMMIT}:
            coordinator.coordinator_dead()
        await asyncio.sleep(retry_s)
        retry_s = min(2 * retry_s, _LONGEST_OFFSETS_RETRY_S)


async def commit_once(
    consumer: AIOKafkaConsumer, points: Mapping[TopicPartition, OffsetAndMetadata], expected: int
) -> None:
    """Send one offset commit, under generation ``expected`` or not at all.

    aiokafka's own ``commit`` retries under the generation of that moment, and so overwrites what a
    new owner has committed. On a refusal it also drops its member id; here the heartbeat does, by
    the same error. ``CommitRefusedError`` means that the group has rebalanced; after another
    ``KafkaError`` sending again may help if it is ``retriable``.
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


def rejoin(consumer: AIOKafkaConsumer) -> None:
    """Join the group again: as the same member, or as a new one if the coordinator forgot it."""
    if consumer._coordinator is not None:
        consumer._coordinator.request_rejoin()


def begin_at_log_start(consumer: AIOKafkaConsumer, partitions: Collection[KafkaPartition]) -> None:
    assignment = consumer._subscription.subscription.assignment
    for partition in partitions:
        state = None if assignment is None else assignment.state_value(partition)
        if state is not None and not state.has_valid_position:
            state.await_reset(OffsetResetStrategy.EARLIEST)
            # The fetch task leaves an error there if nothing is committed.
            consumer._fetcher._records.pop(partition, None)


def start_heartbeats(consumer: AIOKafkaConsumer) -> asyncio.Future[None]:
    """Start the heartbeats of a generation, in the callback that assigns its partitions.

    aiokafka stops them before it joins, and starts them after that callback unless they run. The
    returned future is done once the member has to join again.
    """
    coordinator = consumer._coordinator
    coordinator._start_heartbeat_task()
    rejoin_needed: asyncio.Future[None] = coordinator._rejoin_needed_fut
    return rejoin_needed


def must_join(consumer: AIOKafkaConsumer) -> bool:
    return bool(consumer._coordinator._rejoin_needed_fut.done())


def note_poll(consumer: AIOKafkaConsumer) -> None:
    """Count a poll, and raise the coordination's error, while a rebalance allows no fetch.

    The coordination waits until its error is read, and does not join the group again after
    ``max_poll_interval_ms`` without a fetch.
    """
    coordinator = consumer._coordinator
    if coordinator is None or coordinator._coordination_task.cancelled():
        return
    with consumer._subscription.fetch_context():
        pass
    coordinator.check_errors()


def end_failed_fetch(consumer: AIOKafkaConsumer) -> None:
    """Count a fetch that raised as ended; it would disable ``max_poll_interval_ms``."""
    consumer._subscription._fetch_count -= 1


async def abandon(consumer: AIOKafkaConsumer) -> None:
    """Finish an interrupted ``stop``; leave the group without waiting for a rebalance."""
    coordinator = consumer._coordinator
    if coordinator is not None:
        task = coordinator._coordination_task
        task.cancel()
        with contextlib.suppress(BaseException):
            await task
        await coordinator._stop_heartbeat_task()
        await coordinator._stop_commit_offsets_refresh_task()
        await coordinator._maybe_leave_group()
    if consumer._fetcher is not None:
        await consumer._fetcher.close()
    await consumer._client.close()
