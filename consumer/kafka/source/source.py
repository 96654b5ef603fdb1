"""Reads requests as a member of a consumer group, by aiokafka."""

import asyncio
import logging
from collections.abc import Collection, Coroutine, Mapping
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, errors
from aiokafka.structs import ConsumerRecord
from aiokafka.structs import TopicPartition as KafkaPartition

from consumer.engine.waiting.waits import open_transaction
from consumer.kafka.client import internals
from consumer.kafka.client.cluster_client import cluster_waits
from consumer.kafka.client.connection import explain, explaining_failures, warn_if_slow
from consumer.kafka.client.reach import start_within_reach
from consumer.kafka.group.assignor import make_assignor
from consumer.kafka.group.member import make_consumer
from consumer.kafka.group.session import Session
from consumer.kafka.group.static_membership import leave_on_stop, name_in_heartbeats
from consumer.kafka.source import raw_records
from consumer.kafka.source.beginning import any_committed, begin_at_end
from consumer.kafka.source.committing import Commits
from consumer.kafka.source.fetching import Fetching
from consumer.kafka.source.logs import ask_each, ask_led, points_in_logs
from consumer.kafka.source.topic_identity import TopicIdentity
from consumer.kafka.source.unpacking import Unpacking
from consumer.ports import (
    OffsetAndMetadata,
    RebalanceListener,
    Record,
    SourceError,
    TopicPartition,
)
from handoff.clock import Clock, SystemClock
from headrace_client.kafka.mending import space_out_empty_fetches
from schemas.settings.file import KafkaSettings, RouteSettings

log = logging.getLogger(__name__)

_STOP_TIMEOUT_S = 5.0
_LOG_BOUNDS_SHARE = 0.2
"""The part of the session timeout that one request for logs' bounds may take in a callback."""
_TAKE_OVER_SHARE = 0.2
"""The part of the rebalance timeout for which a take-over may delay the next rebalance."""


class _Member(NamedTuple):
    consumer: AIOKafkaConsumer
    fetching: Fetching
    commits: Commits
    identity: TopicIdentity
    listener: RebalanceListener


class KafkaSource:
    """A ``RecordSource`` that reads a route's requests topic in its consumer group.

    Aborted records are not delivered. If retention has deleted the next record, reading goes on at
    the log's start; ``start_from`` is for groups that have committed nothing.

    With a ``group_instance_id`` it is a static member, which gets its partitions back at once when
    it starts again within the session timeout. Of two members with one name, the earlier one fails.
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
        self._route = route
        self._topic = route.requests_topic
        self._instance_id = group_instance_id
        self._requires_stable = route.delivery == "exactly_once"
        membership = route.membership
        self._log_bounds_timeout_s = membership.session_timeout_ms / 1000 * _LOG_BOUNDS_SHARE
        self._give_up_after_s = membership.rebalance_timeout_ms / 1000 * _TAKE_OVER_SHARE
        self._doing = f"reading topic {self._topic} in group {route.group}"
        self._member: _Member | None = None
        self._clock = clock or SystemClock()
        self._session = Session(self._clock.monotonic)
        self._callback: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._assigned: frozenset[TopicPartition] = frozenset()
        self._is_taken_over = False
        self._is_watched = False
        self._is_stopped = False

    async def start(self, listener: RebalanceListener) -> None:
        warn_if_slow()
        consumer = make_consumer(
            self._settings,
            self._route,
            self._instance_id,
            make_assignor(lambda: internals.generation(self._started().consumer)),
        )
        unpacking = Unpacking(self._route.flow.max_batch_bytes)
        unpacking.install()
        raw_records.install(unpacking)
        fetching = Fetching(consumer, self._log_bounds_timeout_s)
        identity = TopicIdentity(consumer, self._topic)
        commits = Commits(consumer, self._refused)
        self._member = _Member(consumer, fetching, commits, identity, listener)
        consumer.subscribe([self._topic], listener=_Callbacks(self))
        try:
            with explaining_failures(self._settings, self._doing):
                await start_within_reach(consumer, self._doing)
        except BaseException:
            await self.stop()
            raise
        self._watching = asyncio.create_task(identity.watch(self._fail))
        if self._settings.broker == "embedded":
            space_out_empty_fetches(consumer)

    async def poll(
        self, partitions: Collection[TopicPartition], max_records: int, timeout_s: float
    ) -> list[Record]:
        if self._is_stopped:
            raise SourceError(f"{self._doing}: stopped already")
        fetching = self._started().fetching
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
        """Return the next offset to read; unknown while a fetch that was left behind runs."""
        member = self._started()
        if member.fetching.is_left_behind:
            return None
        return internals.position(member.consumer, KafkaPartition(*partition))

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._started().fetching.seek(partition, offset)

    async def committed(
        self, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """Return the group's commits; with exactly_once, waits for undecided transactions."""
        if not partitions:
            return {}
        consumer = self._started().consumer
        with explaining_failures(self._settings, self._doing):
            points = await internals.committed(
                consumer, partitions, require_stable=self._requires_stable
            )
        return await points_in_logs(points, consumer, self._log_id, self._log_bounds_timeout_s)

    def log_ids(self) -> dict[TopicPartition, bytes]:
        return dict.fromkeys(self._assigned, self._log_id) if self._log_id else {}

    def take_expired(self) -> dict[TopicPartition, int]:
        fetching = self._started().fetching
        expired, fetching.expired = fetching.expired, {}
        return expired

    async def commit(self, points: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Commit; the commit of a cancelled caller goes on, and a rebalance waits for it."""
        if points:
            await self._started().commits.commit(points)

    def rejoin(self) -> None:
        if self._member is not None and not self._is_stopped:
            self._session.forget()
            internals.rejoin(self._member.consumer)

    async def log_ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        ask = self._started().consumer.end_offsets
        return await ask_each(ask, partitions, self._log_bounds_timeout_s)

    async def latest_log_ends(
        self, partitions: Collection[TopicPartition], within_s: float
    ) -> dict[TopicPartition, int]:
        if self._member is None or self._is_stopped:
            return {}
        consumer = self._member.consumer
        since_ms = self._clock.epoch_ms() - int(within_s * 1000)
        fetched = internals.fetched_log_ends(consumer, partitions, since_ms)
        # While reading is paused nothing is fetched, and then the lag grows.
        others = [each for each in partitions if each not in fetched]
        return fetched | await ask_led(consumer, others, self._log_bounds_timeout_s)

    def unheard_s(self) -> float | None:
        is_member = self._member is not None and self._member.commits.is_open
        return self._session.unheard_s if is_member else None

    def waits(self) -> list[str]:
        if self._member is None or self._is_stopped:
            return []
        consumer = self._member.consumer
        lines = cluster_waits(internals.cluster(consumer), self._assigned)
        for partition in sorted(self._assigned):
            blocked = internals.blocked(consumer, KafkaPartition(*partition))
            if blocked is not None:
                lines.append(open_transaction(*partition, *blocked))
        return lines

    async def stop(self) -> None:
        if self._member is None or self._is_stopped:
            return
        self._is_stopped = True
        consumer, fetching, commits, *_ = self._member
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
            log.info(
                "%s: leaving without waiting for the group (%r)",
                self._doing,
                error,
                extra={"event": "group_not_left", "error_class": type(error).__name__},
            )
            await internals.abandon(consumer)
        await fetching.close()

    async def on_revoked(self) -> None:
        consumer, fetching, commits, _identity, listener = self._started()
        fetching.suspend()
        if not self._is_watched:
            self._is_watched = True
            self._session.watch(consumer)
            if self._instance_id is not None:
                name_in_heartbeats(consumer, self._instance_id, self._succeeded)
        if self._is_taken_over and not self._is_stopped:
            self._is_taken_over = False
            await self._call("revoking partitions", listener.revoking())
        # From here to the next assignment a commit could only go out under a wrong generation.
        commits.close()
        if commits.under_way:
            await asyncio.wait(commits.under_way)

    async def on_assigned(self, assigned: Collection[KafkaPartition]) -> None:
        if self._is_stopped:
            return
        member = self._started()
        self._assigned = frozenset(TopicPartition(*each) for each in assigned)
        member.commits.begin(internals.generation(member.consumer), self._assigned)
        # Taking over may outlast a session: it waits for transactions and for leaders.
        rejoin_needed = internals.start_heartbeats(member.consumer)
        await self._call("taking over partitions", self._take_over(member), rejoin_needed)

    async def _take_over(self, member: _Member) -> None:
        consumer = member.consumer
        if not consumer.partitions_for_topic(self._topic):
            raise SourceError(
                f"{self._doing}: the topic is gone; create it again, or remove the route"
            )
        await member.identity.look()
        if self._route.start_from == "latest" and not await self._begin_at_end(member):
            return
        await member.listener.assigned(sorted(self._assigned))
        self._is_taken_over = True
        partitions = [KafkaPartition(*each) for each in self._assigned]
        internals.begin_at_log_start(consumer, partitions)
        # Earlier, the listener might commit progress from when the partitions were its own.
        member.commits.open()
        member.fetching.go_on()

    async def _begin_at_end(self, member: _Member) -> bool:
        """Have the group begin if it has not; return False if it rebalances first.

        aiokafka's own ``latest`` would also skip all records after those that retention has
        deleted, and the records of new partitions.
        """
        consumer = member.consumer
        known = consumer.partitions_for_topic(self._topic) or ()
        everywhere = sorted({TopicPartition(self._topic, number) for number in known})
        with explaining_failures(self._settings, self._doing):
            return await begin_at_end(
                everywhere,
                self._assigned,
                log_id=self._log_id,
                committed=any_committed(consumer, requires_stable=self._requires_stable),
                ends=lambda each: ask_each(consumer.end_offsets, each, self._log_bounds_timeout_s),
                commit=member.commits.commit_at_once,
                is_outdated=lambda: internals.must_join(consumer),
            )

    async def _call(
        self,
        doing: str,
        callback: Coroutine[Any, Any, None],
        outdated: asyncio.Future[None] | None = None,
    ) -> None:
        """Run a listener's coroutine; aiokafka would swallow what it raises.

        ``outdated`` is done once another assignment will come, for which the other members wait:
        the coroutine has a little time left then.
        """
        self._callback = asyncio.create_task(callback)
        if outdated is not None:
            await asyncio.wait([self._callback, outdated], return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait([self._callback], timeout=self._give_up_after_s)
            if not self._callback.done():
                log.warning(
                    "%s: the group rebalances; %s is given up",
                    self._doing,
                    doing,
                    extra={"event": "rebalance_given_up", "doing": doing},
                )
                self._callback.cancel()
        await asyncio.wait([self._callback])
        if self._callback.cancelled():
            return
        error = self._callback.exception()
        self._callback = None
        if error is None:
            return
        if not isinstance(error, SourceError):
            log.error(
                "%s: %s failed",
                self._doing,
                doing,
                exc_info=error,
                extra={"event": "rebalance_failed", "doing": doing},
            )
            error = SourceError(f"{self._doing}: {doing} failed: {error!r}")
        self._fail(error)

    def _fail(self, error: SourceError) -> SourceError:
        """Return and commit nothing more: the log or the partitions may now be others."""
        member = self._started()
        member.commits.fail()
        member.fetching.fail(error)
        return error

    def _refused(self, error: errors.KafkaError) -> SourceError:
        if isinstance(error, errors.UnknownTopicOrPartitionError):
            return self._fail(
                SourceError(
                    f"{self._doing}: the topic is gone, or is being created again; the consumer "
                    "starts afresh from what is committed"
                )
            )
        return self._fail(explain(error, self._settings, self._doing))

    def _succeeded(self) -> None:
        self._fail(
            SourceError(
                f"{self._doing}: another consumer has joined as instance {self._instance_id}; this "
                "one ends. Where it was not a restart, two services share the group: give each a "
                "group of its own, or set membership.static to false"
            )
        )

    @property
    def _log_id(self) -> bytes:
        return self._started().identity.log_id

    def _started(self) -> _Member:
        if self._member is None:
            raise SourceError(f"{self._doing}: not started")
        return self._member


class _Callbacks(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka is untyped
    def __init__(self, source: KafkaSource) -> None:
        self._source = source

    async def on_partitions_revoked(self, revoked: Collection[KafkaPartition]) -> None:  # noqa: ARG002
        await self._source.on_revoked()

    async def on_partitions_assigned(self, assigned: Collection[KafkaPartition]) -> None:
        await self._source.on_assigned(assigned)


def _convert(partition: TopicPartition, fetched: list[ConsumerRecord[Any, Any]]) -> list[Record]:
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
        if type(each.value) is not raw_records.Unread
        else Record(partition, each.offset, None, None, [], each.timestamp, str(each.value))
        for each in fetched
    ]
