"""Reading requests: one member of a consumer group, by aiokafka."""

import asyncio
import logging
from collections.abc import Collection, Coroutine, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, errors
from aiokafka.structs import ConsumerRecord
from aiokafka.structs import TopicPartition as KafkaPartition

from consumer.engine.standing.waits import open_transaction
from consumer.kafka.client import internals
from consumer.kafka.client.cluster_waits import cluster_waits
from consumer.kafka.client.connection import explain, explaining_failures, warn_if_slow
from consumer.kafka.client.reach import start_within_reach
from consumer.kafka.group.assignor import make_assignor
from consumer.kafka.group.member import make_consumer
from consumer.kafka.group.session import Session
from consumer.kafka.group.static_membership import leave_on_stop, name_in_heartbeats
from consumer.kafka.source.beginning import begin_at_end
from consumer.kafka.source.committed_logs import Logs, fits, point_in
from consumer.kafka.source.committing import Commits
from consumer.kafka.source.fetching import Fetching
from consumer.kafka.source.log_bounds import ask_each
from consumer.kafka.source.raw_records import UnreadRecord
from consumer.kafka.source.topic_identity import TopicIdentity
from consumer.kafka.source.unpacking import Unpacking
from consumer.ports import (
    CommitPoint,
    Lag,
    RebalanceListener,
    Record,
    SourceError,
    TopicPartition,
)
from handoff.clock import Clock, SystemClock
from schemas.settings.file import KafkaSettings, RouteSettings

log = logging.getLogger(__name__)

_STOP_TIMEOUT_S = 5.0
_LOG_BOUNDS_SHARE = 0.2
"""The part of the session's timeout that asking once for logs' bounds may take in a callback."""
_TAKE_OVER_SHARE = 0.2
"""The part of the rebalance timeout for which a take-over may keep the next rebalance waiting."""


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
        clock: Time; the machine's where unset.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        route: RouteSettings,
        *,
        group_instance_id: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings
        self._instance_id = group_instance_id
        self._requires_stable = route.delivery == "exactly_once"
        self._route = route
        self._topic = route.requests_topic
        membership = route.membership
        self._log_bounds_timeout_s = membership.session_timeout_ms / 1000 * _LOG_BOUNDS_SHARE
        self._give_up_after_s = membership.rebalance_timeout_ms / 1000 * _TAKE_OVER_SHARE
        self._doing = f"reading topic {self._topic} in group {route.group}"
        self._consumer: AIOKafkaConsumer | None = None
        self._fetching: Fetching | None = None
        self._listener: RebalanceListener | None = None
        self._callback: asyncio.Task[None] | None = None
        self._assigned: frozenset[TopicPartition] = frozenset()
        self._is_taken_over = False
        self._is_watched = False
        self._is_stopped = False
        self._commits: Commits | None = None
        self._identity: TopicIdentity | None = None
        self._watching: asyncio.Task[None] | None = None
        self._session = Session((clock or SystemClock()).monotonic)

    async def start(self, listener: RebalanceListener) -> None:
        """Join the group; see ``RecordSource``."""
        warn_if_slow()
        self._listener = listener
        self._consumer = consumer = make_consumer(
            self._settings,
            self._route,
            self._instance_id,
            make_assignor(lambda: internals.generation(self._started_consumer())),
        )
        unpacking = Unpacking(self._route.flow.max_batch_bytes)
        unpacking.install()
        self._fetching = Fetching(consumer, unpacking, self._log_bounds_timeout_s)
        self._identity = TopicIdentity(consumer, self._topic)
        self._commits = Commits(consumer, self._refused)
        consumer.subscribe([self._topic], listener=_Callbacks(self))
        try:
            with explaining_failures(self._settings, self._doing):
                await start_within_reach(consumer, self._doing)
        except BaseException:
            await self.stop()
            raise
        self._watching = asyncio.create_task(self._identity.watch(self._fail))
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
            raise self._refused(error) from error
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

        A point of another log, or beyond the log's end, is replaced: see ``committed_logs``. It
        stands as it is where nobody says where the log ends, e.g. as the partition has no leader.

        On a route whose delivery is exactly_once, waits for transactions that are being decided.
        """
        if not partitions:
            return {}
        consumer = self._started_consumer()
        with explaining_failures(self._settings, self._doing):
            points = await internals.committed(
                consumer, partitions, require_stable=self._requires_stable
            )
        known = [each for each, point in points.items() if point is not None]
        ends = await ask_each(consumer.end_offsets, known, self._log_bounds_timeout_s)
        log_id = self._log_id
        unfit = {
            each: point
            for each, point in points.items()
            if point is not None and not fits(point, ends.get(each), log_id)
        }
        starts = await ask_each(consumer.beginning_offsets, unfit, self._log_bounds_timeout_s)
        for partition, point in unfit.items():
            points[partition] = point_in(partition, point, Logs(starts, ends, log_id))
        return points

    def log_ids(self) -> dict[TopicPartition, bytes]:
        """Return what stands for the topic's id, for each partition; see ``RecordSource``."""
        return dict.fromkeys(self._assigned, self._log_id) if self._log_id else {}

    def take_expired(self) -> dict[TopicPartition, int]:
        """Return where logs begin that have moved beyond reading; see ``RecordSource``."""
        fetching = self._started_fetching()
        expired, fetching.expired = fetching.expired, {}
        return expired

    async def commit(self, points: Mapping[TopicPartition, CommitPoint]) -> None:
        """Commit under the current generation; see ``RecordSource``.

        A caller that is cancelled leaves the commit under way; a rebalance waits for it.
        """
        if points:
            await self._started_commits().commit(points)

    def rejoin(self) -> None:
        """Join the group again; see ``RecordSource``."""
        if self._consumer is not None and not self._is_stopped:
            self._session.forget()
            internals.rejoin(self._consumer)

    async def log_ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return where logs end; see ``RecordSource``. An open transaction's records are beyond."""
        ask = self._started_consumer().end_offsets
        try:
            return await ask_each(ask, partitions, self._log_bounds_timeout_s)
        except (OSError, KeyError) as error:  # aiokafka's client, where a request has timed out
            log.warning("%s: nobody says where the logs end: %r", self._doing, error)
            return {}

    def unheard_s(self) -> float | None:
        """Return how long ago the group's coordinator confirmed us; see ``RecordSource``."""
        is_member = self._commits is not None and self._commits.is_open
        return self._session.unheard_s if is_member else None

    def waits(self) -> list[str]:
        """Return what reading waits for; see ``RecordSource``."""
        consumer = self._consumer
        if consumer is None or self._is_stopped:
            return []
        lines = cluster_waits(internals.cluster(consumer), self._assigned)
        for partition in sorted(self._assigned):
            blocked = internals.blocked(consumer, KafkaPartition(*partition))
            if blocked is not None:
                lines.append(open_transaction(*partition, *blocked))
        return lines

    async def lag(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, Lag]:
        """Return log start, log end and committed point; see ``RecordSource``."""
        if not partitions:
            return {}
        consumer = self._started_consumer()
        wanted = [KafkaPartition(*each) for each in partitions]
        with explaining_failures(self._settings, self._doing):
            starts = await consumer.beginning_offsets(wanted)
            ends = await consumer.end_offsets(wanted)
            points = await internals.committed(consumer, partitions, require_stable=False)
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
        commits = self._started_commits()
        commits.close()
        leave_on_stop(consumer)
        # aiokafka retries without end, and its stop waits for callbacks: end both first.
        ending = [*commits.under_way]
        ending += [task for task in (self._callback, self._watching) if task is not None]
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
        if not self._is_watched:
            self._is_watched = True
            self._session.watch(self._started_consumer())
            if self._instance_id is not None:
                name_in_heartbeats(self._started_consumer(), self._instance_id, self._succeeded)
        if self._is_taken_over and not self._is_stopped:
            self._is_taken_over = False
            await self._call("revoking partitions", self._listener_there().revoking())
        # From here to the next assignment a commit could only go out under a wrong generation.
        commits = self._started_commits()
        commits.close()
        if commits.under_way:
            await asyncio.wait(commits.under_way)

    async def on_assigned(self, assigned: Collection[KafkaPartition]) -> None:
        """The group has a new generation, and we have ``assigned`` in it."""
        if self._is_stopped:
            return
        consumer = self._started_consumer()
        self._assigned = frozenset(TopicPartition(*each) for each in assigned)
        self._started_commits().begin(internals.generation(consumer), self._assigned)
        # Taking over may outlast a session: a transaction, or a partition's leader, is waited for.
        rejoin_needed = internals.start_heartbeats(consumer)
        await self._call("taking over partitions", self._take_over(), rejoin_needed)

    async def _take_over(self) -> None:
        if not self._started_consumer().partitions_for_topic(self._topic):
            raise SourceError(
                f"{self._doing}: the topic is gone; create it again, or remove the route"
            )
        if self._identity is not None:
            await self._identity.look()
        if self._route.start_from == "latest" and not await self._begin_at_end():
            return
        await self._listener_there().assigned(sorted(self._assigned))
        self._is_taken_over = True
        internals.begin_at_log_start(
            self._started_consumer(), [KafkaPartition(*each) for each in self._assigned]
        )
        # Before, the listener's progress could be of a time when the partitions were its own.
        self._started_commits().open()
        self._started_fetching().go_on()

    async def _begin_at_end(self) -> bool:
        """Have the group begin if it has not; False where it rebalances first.

        aiokafka's own ``latest`` would also skip records that retention made unreachable up to,
        i.e. lose everything between the deleted records and the end, and those of new partitions.
        """
        consumer = self._started_consumer()
        known = consumer.partitions_for_topic(self._topic) or ()
        everywhere = sorted({TopicPartition(self._topic, number) for number in known})

        async def committed(
            partitions: Collection[TopicPartition],
        ) -> Mapping[TopicPartition, CommitPoint | None]:
            # What is seen of one partition is enough; else a transaction may be about to say it.
            points = await internals.committed(consumer, partitions, require_stable=False)
            if self._requires_stable and not any(points.values()):
                points = await internals.committed(consumer, partitions, require_stable=True)
            return points

        with explaining_failures(self._settings, self._doing):
            return await begin_at_end(
                everywhere,
                self._assigned,
                log_id=self._log_id,
                committed=committed,
                ends=lambda each: ask_each(consumer.end_offsets, each, self._log_bounds_timeout_s),
                commit=self._started_commits().commit_at_once,
                is_outdated=lambda: internals.must_join(consumer),
            )

    async def _call(
        self,
        doing: str,
        callback: Coroutine[Any, Any, None],
        outdated: asyncio.Future[None] | None = None,
    ) -> None:
        """Run a listener's coroutine; aiokafka would swallow what it raises.

        Args:
            doing: What it does.
            callback: The coroutine.
            outdated: Once this is done the others wait for us, and another assignment will come:
                the coroutine has a little time left.
        """
        self._callback = asyncio.create_task(callback)
        if outdated is not None:
            await asyncio.wait([self._callback, outdated], return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait([self._callback], timeout=self._give_up_after_s)
            if not self._callback.done():
                log.warning("%s: the group rebalances; %s is given up", self._doing, doing)
                self._callback.cancel()
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
        self._started_commits().fail()
        self._started_fetching().fail(error)
        return error

    def _refused(self, error: errors.KafkaError) -> SourceError:
        """Fail by what the broker answered."""
        if isinstance(error, errors.UnknownTopicOrPartitionError):
            return self._fail(
                SourceError(
                    f"{self._doing}: the topic is gone, or is being created again; the consumer "
                    "starts afresh from what is committed"
                )
            )
        return self._fail(self._explain(error))

    def _succeeded(self) -> None:
        """Another member has taken our instance id."""
        self._fail(
            SourceError(
                f"{self._doing}: another consumer has joined as instance {self._instance_id}; this "
                "one ends. Where it was not a restart, two services share the group: give each a "
                "group of its own, or set membership.static to false"
            )
        )

    @property
    def _log_id(self) -> bytes:
        return b"" if self._identity is None else self._identity.log_id

    def _explain(self, error: errors.KafkaError) -> SourceError:
        return explain(error, self._settings, self._doing)

    def _started_consumer(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise SourceError(f"{self._doing}: not started")
        return self._consumer

    def _listener_there(self) -> RebalanceListener:
        if self._listener is None:
            raise SourceError(f"{self._doing}: not started")
        return self._listener

    def _started_commits(self) -> Commits:
        if self._commits is None:
            raise SourceError(f"{self._doing}: not started")
        return self._commits

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
    # A named tuple's own constructor takes twice as long.
    new = tuple.__new__
    return [
        new(
            Record,
            (
                partition,
                each.offset,
                each.key,
                each.value,
                list(each.headers),
                each.timestamp,
                None,
            ),
        )
        for each in fetched
    ]
