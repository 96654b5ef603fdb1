"""Changes the offsets of a group without members, as its route's delivery wants it.

At-least-once commits by a plain request: the brokers refuse it while the group has members. For
exactly-once, a consumer that was lost may still have a transaction open, whose offsets would come
after ours; so each partition is taken over first, as its next consumer would, which ends what is
open and fences whoever left it, and the offsets go into a transaction of their own.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from consumer.autoscaling.lag import begins_at_end
from consumer.kafka.admin.group_lags import GroupLags
from consumer.kafka.admin.group_offsets import GroupNotEmptyError, GroupOffsets, GroupState
from consumer.kafka.transactions.sink import KafkaTransactionalSink
from consumer.ports import FencedError, OffsetAndMetadata, SourceError, TopicPartition
from headrace.errors import UserError
from headrace.offsets.edits import MOST_NAMED, Edit, Log, beginning
from schemas.settings.file import KafkaSettings, RouteSettings

TAKE_OVER_TIMEOUT_S = 60.0
_AT_ONCE = 64
"""Partitions that are taken over, and committed, at a time."""

Plan = Callable[[Log], list[Edit]]


def not_empty(route_name: str, group: str, state: GroupState) -> str:
    members = ", ".join(state.members[:3]) + (", …" if len(state.members) > 3 else "")
    who = f" ({members})" if members else ""
    return (
        f"group {group} has members{who}: its offsets are theirs to commit. `headrace route pause "
        f"{route_name}` first, or stop the service; then run this again"
    )


class Changing:
    """The offsets of one route's group, to look at and to change."""

    def __init__(
        self, kafka: KafkaSettings, name: str, route: RouteSettings, offsets: GroupOffsets
    ) -> None:
        self._kafka = kafka
        self._name = name
        self._route = route
        self.offsets = offsets

    async def log(self) -> Log:
        async with GroupLags(self._kafka) as lags:
            found = await lags.read(self._route.group, self._route.requests_topic)
        if not found:
            raise UserError(
                f"there is no topic {self._route.requests_topic}; `headrace topics create` makes it"
            )
        return Log(
            lags=found,
            begins_at_end=begins_at_end(found, from_latest=self._route.start_from == "latest"),
            log_id=await self.offsets.log_id(),
            limit_characters=self._kafka.offset_metadata_max_bytes,
        )

    async def check_empty(self) -> None:
        """Raise ``UserError``, which says how to pause the route, if the group has members."""
        state = await self.offsets.state()
        if not state.is_empty:
            raise UserError(not_empty(self._name, self._route.group, state))

    async def check_decided(self, partitions: Sequence[int]) -> None:
        """Raise ``UserError`` while a transaction is to change these offsets."""
        if await self.offsets.undecided(partitions):
            raise UserError(
                f"an open transaction is to change offsets of group {self._route.group}: of a "
                "consumer that is gone, or of another program. The brokers end it after its "
                "timeout (transactions.timeout_ms of an exactly_once route); run this again then"
            )

    async def commit(self, plan: Plan, partitions: Sequence[int]) -> list[Edit]:
        """Change these partitions by a plan that is made of the latest offsets; return the edits.

        ``UserError`` if the group has members, or gets some meanwhile: then partitions may be left
        as they were.
        """
        await self.check_empty()
        if self._route.delivery == "exactly_once":
            return await self._commit_in_transactions(plan, partitions)
        await self.check_decided(partitions)
        edits = [edit for edit in plan(await self._begun(plan)) if edit.is_change]
        try:
            await self._commit({self._place(edit.partition): edit.after for edit in edits})
        except (SourceError, UserError) as error:
            raise type(error)(f"{error}. {await self._told_changes(edits)}") from error
        return edits

    async def _told_changes(self, edits: Sequence[Edit]) -> str:
        """Say which of these edits were made before a failure; the commits come in parts."""
        try:
            lags = (await self.log()).lags
        except SourceError:
            return "Which partitions are changed is not known: see `headrace offsets show`"
        changed = [
            each for each in edits if lags[self._place(each.partition)].committed == each.after
        ]
        if not changed:
            return "No partition is changed"
        names = ", ".join(str(each.partition) for each in changed[:MOST_NAMED])
        more = f" and {len(changed) - MOST_NAMED} more" if len(changed) > MOST_NAMED else ""
        return (
            f"Changed already: partitions {names}{more}, {len(changed)} of {len(edits)}; name the "
            "others with --partition where a change must not be made twice, as with --by"
        )

    async def _begun(self, plan: Plan) -> Log:
        """Return the log of a group that has begun; else it begins, as its first consumer would."""
        log = await self.log()
        points = beginning(log)
        if not points:
            return log
        # An edit that is refused leaves the group as it was.
        plan(log)
        await self.check_decided([each.partition for each in points])
        await self._commit(points)
        return await self.log()

    async def _commit(self, points: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        try:
            await self.offsets.commit(points)
        except GroupNotEmptyError:
            raise UserError(
                not_empty(self._name, self._route.group, await self.offsets.state())
            ) from None

    async def _commit_in_transactions(self, plan: Plan, partitions: Sequence[int]) -> list[Edit]:
        edits: list[Edit] = []
        async with taken_over_sink(self._kafka, self._route) as sink:
            for start in range(0, len(partitions), _AT_ONCE):
                part = set(partitions[start : start + _AT_ONCE])
                try:
                    await self._commit_part(sink, plan, part, edits)
                except (SourceError, UserError) as error:
                    if not edits:
                        raise
                    raise type(error)(f"{error}. {await self._told_changes(edits)}") from error
        return edits

    async def _commit_part(
        self, sink: KafkaTransactionalSink, plan: Plan, part: set[int], edits: list[Edit]
    ) -> None:
        await take_over(sink, [self._place(number) for number in sorted(part)])
        await self.check_empty()
        planned = plan(await self._begun(plan))
        due = [each for each in planned if each.is_change and each.partition in part]
        edits += due
        # All come to their end before an error is told, and before the sink stops.
        ends = await asyncio.gather(
            *(sink.publish(self._place(each.partition), [], each.after) for each in due),
            return_exceptions=True,
        )
        for error in ends:
            if isinstance(error, FencedError):
                raise UserError(
                    f"a consumer of {self._name} took partitions over meanwhile ({error}): "
                    f"`headrace route pause {self._name}`, then run this again"
                ) from error
            if isinstance(error, BaseException):
                raise error

    def _place(self, partition: int) -> TopicPartition:
        return TopicPartition(self._route.requests_topic, partition)


@asynccontextmanager
async def open_offsets(
    kafka: KafkaSettings, name: str, route: RouteSettings
) -> AsyncIterator[Changing]:
    async with GroupOffsets(kafka, route.group, route.requests_topic) as offsets:
        yield Changing(kafka, name, route, offsets)


@asynccontextmanager
async def taken_over_sink(
    kafka: KafkaSettings, route: RouteSettings
) -> AsyncIterator[KafkaTransactionalSink]:
    sink = KafkaTransactionalSink(kafka, route)
    await sink.start()
    try:
        yield sink
    finally:
        await sink.stop()


async def take_over(sink: KafkaTransactionalSink, partitions: Sequence[TopicPartition]) -> None:
    """Fence whoever had these partitions; ``SourceError`` if that takes too long."""
    try:
        async with asyncio.timeout(TAKE_OVER_TIMEOUT_S):
            await sink.take_over(partitions)
    except TimeoutError:
        raise SourceError(
            f"the open transactions of {partitions[0].topic} do not end within "
            f"{TAKE_OVER_TIMEOUT_S:g} s: see that every partition of the results and dead-letter "
            "topics has a leader"
        ) from None
