"""Reading requests: one member of a consumer group, by aiokafka."""

import asyncio
import logging
from collections.abc import Collection, Coroutine, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, errors
from aiokafka.structs import ConsumerRecord
from aiokafka.structs import TopicPartition as KafkaPartition

from consumer.core.assignment import NEVER_ASSIGNED
from consumer.core.ports import (
    CommitPoint,
    CommitRefusedError,
    Lag,
    RebalanceListener,
    Record,
    SourceError,
    TopicPartition,
)
from consumer.kafka import internals
from consumer.kafka.assignor import make_assignor
from consumer.kafka.connection import client_options, explain, explaining_failures, warn_if_slow
from consumer.kafka.fetching import Fetching
from consumer.kafka.log_bounds import ask_each
from consumer.kafka.raw_records import UnreadRecord
from consumer.kafka.static_membership import leave_on_stop, name_in_heartbeats
from consumer.kafka.unpacking import Unpacking
from schemas.settings import KafkaSettings, RouteSettings

log = logging.getLogger(__name__)

_COMMIT_RETRY_S = 0.1
_STOP_TIMEOUT_S = 5.0
_LOG_BOUNDS_SHARE = 0.2
"""The part of the session's timeout that asking once for logs' bounds may take in a callback."""


class KafkaSource:
    """A ``RecordSource`` that reads a route's requests topic in its consumer group.

    Transactional producers' aborted records are not delivered. Where retention has deleted what
    was to be read next, reading goes on at the log's start, whatever ``start_from`` says: that is
    for groups which have committed nothing yet.

    Args:
        settings: The cluster.
        route: Its topic, group, membership and flow settings.
        group_instance_id: Makes it a static member of this name: started again within the session
            timeout it has its partitions back at once. While two hold the same name, the one that
            joined earlier fails.
    """

    def __init__(
        self, settings: KafkaSettings, route: RouteSettings, *, group_instance_id: str | None = None
    ) -> None:
        self._settings = settings
        self._instance_id = group_instance_id
        self._requires_stable = route.delivery == "exactly_once"
        self._route = route
        self._topic = route.requests_topic
        self._log_bounds_timeout_s = route.membership.session_timeout_ms / 1000 * _LOG_BOUNDS_SHARE
        self._doing = f"reading topic {self._topic} in group {route.group}"
        self._consumer: AIOKafkaConsumer | None = None
        self._fetching: Fetching | None = None
        self._listener: RebalanceListener | None = None
        self._callback: asyncio.Task[None] | None = None
        self._assigned: frozenset[TopicPartition] = frozenset()
        self._has_joined = False
        self._is_named = False
        self._is_stopped = False
        self._takes_commits = False
        self._has_failed = False
        self._generation = NEVER_ASSIGNED
        self._commits: set[asyncio.Task[None]] = set()
        self._commit_lock = asyncio.Lock()

    async def start(self, listener: RebalanceListener) -> None:
        """Join the group; see ``RecordSource``."""
        warn_if_slow()
        route = self._route
        self._listener = listener
        self._consumer = consumer = AIOKafkaConsumer(
            **client_options(self._settings),
            client_id=f"headrace-{route.group}",
            group_id=route.group,
            group_instance_id=self._instance_id,
            enable_auto_commit=False,
            # Not start_from: see _seek_to_end.
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            partition_assignment_strategy=(
                make_assignor(lambda: internals.generation(self._started_consumer())),
            ),
            session_timeout_ms=route.membership.session_timeout_ms,
            heartbeat_interval_ms=route.membership.heartbeat_interval_ms,
            rebalance_timeout_ms=route.membership.rebalance_timeout_ms,
            fetch_max_bytes=route.flow.fetch_max_bytes,
            max_partition_fetch_bytes=route.flow.max_partition_fetch_bytes,
        )
        unpacking = Unpacking(route.flow.max_batch_bytes)
        unpacking.install()
        self._fetching = Fetching(consumer, unpacking)
        consumer.subscribe([self._topic], listener=_Callbacks(self))
        try:
            with explaining_failures(self._settings, self._doing):
                await consumer.start()
        except BaseException:
            await self.stop()
            raise
        if self._settings.broker == "embedded":
            internals.space_out_empty_fetches(consumer)

    async def poll(
        self, partitions: Collection[TopicPartition], max_records: int, timeout_s: float
    ) -> list[Record]:
        """Return records of ``partitions``; see ``RecordSource``."""
        if self._is_stopped:
            raise SourceError(f"{self._doing}: stopped already")
        fetching = self._started_fetching()
        wanted = [each for each in partitions if each in self._assigned]
        try:
            fetched = await fetching.fetch(wanted, max_records, timeout_s)
        except errors.KafkaError as error:
            raise self._fail(explain(error, self._settings, self._doing)) from error
        records: list[Record] = []
        for partition, fetched_records in fetched.items():
            records += _convert(TopicPartition(*partition), fetched_records)
        return records

    def position(self, partition: TopicPartition) -> int | None:
        """Return the next offset to read; see ``RecordSource``.

        Unknown while a fetch that a rebalance left behind may have taken records unseen.
        """
        if self._started_fetching().is_left_behind:
            return None
        return internals.position(self._started_consumer(), KafkaPartition(*partition))

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read ``partition`` from ``offset`` on; ignored where it is not assigned any more."""
        self._started_fetching().seek(partition, offset)

    async def committed(
        self, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, CommitPoint | None]:
        """Return the group's committed points; see ``RecordSource``.

        A point beyond the log's end counts as the log's start, without its map. The topic may have
        been created again, or an unclean leader election has cut its log: which records below the
        end are new cannot be told, and repeating some is better than losing some. Where the log's
        end is not to be had soon, e.g. as the partition has no leader, the point stands as it is.

        On a route whose delivery is exactly_once, waits for transactions that are being decided.
        """
        if not partitions:
            return {}
        consumer = self._started_consumer()
        with explaining_failures(self._settings, self._doing):
            if self._requires_stable:
                points = await internals.committed_stably(consumer, partitions)
            else:
                points = await internals.committed(consumer, partitions)
        offsets = {each: point.offset for each, point in points.items() if point is not None}
        ends = await ask_each(consumer.end_offsets, offsets, self._log_bounds_timeout_s)
        beyond = [each for each, log_end in ends.items() if offsets[each] > log_end]
        starts = await ask_each(consumer.beginning_offsets, beyond, self._log_bounds_timeout_s)
        for partition in beyond:
            # Below a log's start aiokafka goes on at the start.
            log_start = starts.get(partition, 0)
            log.warning(
                "%s: group %s has committed offset %d, but the log ends at %d: the topic was "
                "created again, or the cluster has lost records; reading on at the log's start, "
                "%d, so that nothing new is passed over",
                partition,
                self._route.group,
                offsets[partition],
                ends[partition],
                log_start,
            )
            points[partition] = CommitPoint(log_start, "")
        return points

    async def commit(self, points: Mapping[TopicPartition, CommitPoint]) -> None:
        """Commit under the current generation; see ``RecordSource``.

        A caller that is cancelled leaves the commit under way; a rebalance waits for it.
        """
        if not points:
            return
        task = asyncio.create_task(self._commit(dict(points)))
        self._commits.add(task)
        task.add_done_callback(self._forget_commit)
        await asyncio.shield(task)

    def rejoin(self) -> None:
        """Join the group again; see ``RecordSource``."""
        if self._consumer is not None and not self._is_stopped:
            internals.rejoin(self._consumer)

    async def log_ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return where logs end; see ``RecordSource``. An open transaction's records are beyond."""
        ask = self._started_consumer().end_offsets
        try:
            return await ask_each(ask, partitions, self._log_bounds_timeout_s)
        except (OSError, KeyError) as error:  # aiokafka's client, where a request has timed out
            log.warning("%s: nobody says where the logs end: %r", self._doing, error)
            return {}

    async def lag(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, Lag]:
        """Return log start, log end and committed point; see ``RecordSource``."""
        if not partitions:
            return {}
        consumer = self._started_consumer()
        wanted = [KafkaPartition(*each) for each in partitions]
        with explaining_failures(self._settings, self._doing):
            starts = await consumer.beginning_offsets(wanted)
            ends = await consumer.end_offsets(wanted)
            points = await internals.committed(consumer, partitions)
        return {
            each: Lag(starts[KafkaPartition(*each)], ends[KafkaPartition(*each)], points[each])
            for each in partitions
        }

    async def stop(self) -> None:
        """Leave the group at once; see ``RecordSource``."""
        consumer = self._consumer
        if consumer is None or self._is_stopped:
            return
        self._is_stopped = True
        self._takes_commits = False
        leave_on_stop(consumer)
        # aiokafka retries without end, and its stop waits for callbacks: end both first.
        ending = [*self._commits, *([self._callback] if self._callback else [])]
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await consumer.stop()
        except (TimeoutError, errors.KafkaError) as error:
            log.info("%s: leaving without waiting for the group (%r)", self._doing, error)
            await internals.abandon(consumer)
        await self._started_fetching().close()

    async def on_revoked(self) -> None:
        """Aiokafka is about to join the group again, or for the first time."""
        self._started_fetching().suspend()
        if self._instance_id is not None and not self._is_named:
            self._is_named = True
            name_in_heartbeats(self._started_consumer(), self._instance_id, self._succeeded)
        if self._has_joined and not self._is_stopped:
            await self._call("revoking partitions", self._listener_there().revoking())
        # From here to the next assignment a commit could only go out under a wrong generation.
        self._takes_commits = False
        if self._commits:
            await asyncio.wait(self._commits)

    async def on_assigned(self, assigned: Collection[KafkaPartition]) -> None:
        """The group has a new generation, and we have ``assigned`` in it."""
        if self._is_stopped:
            return
        self._assigned = frozenset(TopicPartition(*each) for each in assigned)
        self._generation = internals.generation(self._started_consumer())
        self._has_joined = True
        await self._call("taking over partitions", self._take_over())

    async def _take_over(self) -> None:
        if not self._started_consumer().partitions_for_topic(self._topic):
            raise SourceError(
                f"{self._doing}: the topic is gone; create it again, or remove the route"
            )
        if self._route.start_from == "latest":
            await self._seek_to_end()
        await self._listener_there().assigned(sorted(self._assigned))
        # Before, the listener's progress could be of a time when the partitions were its own.
        self._takes_commits = True
        self._started_fetching().go_on()

    async def _seek_to_end(self) -> None:
        """Skip what there is where the group has committed nothing.

        aiokafka's own ``latest`` would also skip records that retention made unreachable up to,
        i.e. lose everything between the deleted records and the end.
        """
        consumer = self._started_consumer()
        points = await internals.committed(consumer, self._assigned)
        unread = sorted(each for each, point in points.items() if point is None)
        ends = await ask_each(consumer.end_offsets, unread, self._log_bounds_timeout_s)
        unknown = [f"{each.topic}/{each.partition}" for each in unread if each not in ends]
        if unknown:
            raise SourceError(
                f"{self._doing}: start_from is latest, and nobody says where the log of "
                f"{', '.join(unknown)} ends; check that each partition has a leader"
            )
        for partition, log_end in ends.items():
            consumer.seek(KafkaPartition(*partition), log_end)

    async def _call(self, doing: str, callback: Coroutine[Any, Any, None]) -> None:
        """Run a listener's coroutine; aiokafka would swallow what it raises."""
        self._callback = asyncio.create_task(callback)
        await asyncio.wait([self._callback])
        if self._callback.cancelled():
            return
        error = self._callback.exception()
        self._callback = None
        if error is None:
            return
        if not isinstance(error, SourceError):
            log.error("%s: %s failed", self._doing, doing, exc_info=error)
            error = SourceError(f"{self._doing}: {doing} failed: {error!r}")
        self._fail(error)

    def _fail(self, error: SourceError) -> SourceError:
        """Hand out and commit nothing more: whose the log and the partitions are is in doubt."""
        self._has_failed = True
        self._started_fetching().fail(error)
        return error

    async def _commit(self, points: Mapping[TopicPartition, CommitPoint]) -> None:
        async with self._commit_lock:
            consumer = self._started_consumer()
            while True:
                if self._has_failed:
                    raise CommitRefusedError("this consumer has failed")
                if not self._takes_commits:
                    raise CommitRefusedError("the group is rebalancing")
                strangers = points.keys() - self._assigned
                if strangers:
                    raise CommitRefusedError(f"not assigned any more: {sorted(strangers)}")
                try:
                    await internals.commit_once(consumer, points, self._generation)
                except errors.UnknownTopicOrPartitionError as error:
                    # Sent again until the topic is back, it would be committed for another log.
                    raise self._fail(
                        SourceError(
                            f"{self._doing}: the topic is gone, or is being created again; the "
                            "consumer starts afresh from what is committed"
                        )
                    ) from error
                except errors.KafkaError as error:
                    if not error.retriable:
                        raise self._fail(explain(error, self._settings, self._doing)) from error
                    log.warning("%s: committing again after %s", self._doing, error)
                    await asyncio.sleep(_COMMIT_RETRY_S)
                else:
                    return

    def _succeeded(self) -> None:
        """Another member has taken our instance id."""
        self._fail(
            SourceError(
                f"{self._doing}: another consumer has joined as instance {self._instance_id}; this "
                "one ends. Where it was not a restart, two services share the group: give each a "
                "group of its own, or set membership.static to false"
            )
        )

    def _forget_commit(self, task: asyncio.Task[None]) -> None:
        self._commits.discard(task)
        if not task.cancelled():
            # Its caller may be gone; then nobody else takes note of how it ended.
            task.exception()

    def _started_consumer(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise SourceError(f"{self._doing}: not started")
        return self._consumer

    def _listener_there(self) -> RebalanceListener:
        if self._listener is None:
            raise SourceError(f"{self._doing}: not started")
        return self._listener

    def _started_fetching(self) -> Fetching:
        if self._fetching is None:
            raise SourceError(f"{self._doing}: not started")
        return self._fetching


class _Callbacks(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka is untyped
    """Aiokafka's rebalance callbacks, handed on."""

    def __init__(self, source: KafkaSource) -> None:
        self._source = source

    async def on_partitions_revoked(self, revoked: Collection[KafkaPartition]) -> None:  # noqa: ARG002
        await self._source.on_revoked()

    async def on_partitions_assigned(self, assigned: Collection[KafkaPartition]) -> None:
        await self._source.on_assigned(assigned)


def _convert(partition: TopicPartition, fetched: list[ConsumerRecord[Any, Any]]) -> list[Record]:
    if isinstance(fetched[0], UnreadRecord):
        return [
            Record(partition, each.offset, None, None, [], each.timestamp, each.value)
            for each in fetched
        ]
    return [
        Record(
            partition,
            record.offset,
            record.key,
            record.value,
            list(record.headers) if record.headers else [],
            record.timestamp,
        )
        for record in fetched
    ]
