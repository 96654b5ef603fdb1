"""Known bugs, planted into a consumer process of the harness, to prove that the checker finds them.

``HEADRACE_CHAOS_PLANTED`` names the bug. Only ``tests/chaos`` reads it.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum

from aiokafka import AIOKafkaProducer, errors
from aiokafka.producer.message_accumulator import BatchBuilder

from consumer.engine.offsets.assigned_partitions import AssignedPartitions, AssignmentChange
from consumer.engine.offsets.ledger import PartitionLedger
from consumer.engine.work import WorkItem
from consumer.kafka.sink.partition_writer import PartitionWriter
from consumer.loop.at_least_once import AtLeastOnce
from consumer.ports import Message, OffsetAndMetadata, TopicPartition
from tests.chaos.faults.schedule import Kind
from tests.chaos.faults.silence_bugs import (
    outlive_the_session,
    take_loading_for_nothing_committed,
    wait_for_a_hung_model,
)

log = logging.getLogger(__name__)

VARIABLE = "HEADRACE_CHAOS_PLANTED"


class Bug(StrEnum):
    """A bug to plant. Each name is a key of the report."""

    COMMIT_HIGHEST_SEEN = "commit_highest_seen"
    """The committed offset is one past the last record that was read."""
    DROP_THE_MAP = "drop_the_map"
    """The lowest unfinished offset is committed without the completion map."""
    IGNORE_A_FAILED_SEND = "ignore_a_failed_send"
    """A batch that the producer could not deliver counts as acknowledged."""
    COMMIT_BEFORE_ACKNOWLEDGEMENT = "commit_before_acknowledgement"
    """Records count as complete when their outcome is handed to the producer."""
    COMPLETE_FROM_A_STALE_EPOCH = "complete_from_a_stale_epoch"
    """Work of a lost partition is published."""
    WAIT_FOR_A_HUNG_MODEL = "wait_for_a_hung_model"
    """A call that is never answered is waited for without end."""
    TAKE_LOADING_FOR_NOTHING_COMMITTED = "take_loading_for_nothing_committed"
    """A coordinator that is loading counts as one without offsets."""
    OUTLIVE_THE_SESSION = "outlive_the_session"
    """A member whose coordinator does not answer keeps its partitions."""


PROVOKED_BY: Mapping[Bug, tuple[Kind, ...]] = {
    Bug.COMMIT_HIGHEST_SEEN: (Kind.CONSUMER_KILL,),
    Bug.DROP_THE_MAP: (Kind.METADATA_LIMIT, Kind.CONSUMER_RESTART, Kind.CONSUMER_KILL),
    Bug.IGNORE_A_FAILED_SEND: (Kind.PRODUCE_REFUSED,),
    Bug.COMMIT_BEFORE_ACKNOWLEDGEMENT: (Kind.CONNECTION_DELAY, Kind.CONSUMER_KILL),
    Bug.COMPLETE_FROM_A_STALE_EPOCH: (Kind.REVOKE_DURING_GENERATION,),
    Bug.WAIT_FOR_A_HUNG_MODEL: (Kind.HUNG_MODEL,),
    Bug.TAKE_LOADING_FOR_NOTHING_COMMITTED: (Kind.COORDINATOR_LOADING,),
    Bug.OUTLIVE_THE_SESSION: (Kind.ASYMMETRIC_CUT,),
}
"""The kinds of fault that provoke each bug."""

SHOWS_AS: Mapping[Bug, frozenset[str]] = {
    Bug.COMMIT_HIGHEST_SEEN: frozenset({"covered_without_outcome", "lost"}),
    Bug.DROP_THE_MAP: frozenset({"unexplained_duplicate"}),
    Bug.IGNORE_A_FAILED_SEND: frozenset({"covered_without_outcome", "lost"}),
    Bug.COMMIT_BEFORE_ACKNOWLEDGEMENT: frozenset({"covered_without_outcome"}),
    Bug.COMPLETE_FROM_A_STALE_EPOCH: frozenset({"unexplained_duplicate"}),
    Bug.WAIT_FOR_A_HUNG_MODEL: frozenset({"lost"}),
    Bug.TAKE_LOADING_FOR_NOTHING_COMMITTED: frozenset({"unexplained_duplicate"}),
    Bug.OUTLIVE_THE_SESSION: frozenset({"too_many_duplicates"}),
}
"""The violations of which each bug must cause one; other violations prove nothing."""


def plant(bug: Bug) -> None:
    """Change this process's service code so that it has the bug."""
    log.warning("planted: %s", bug.value)
    _PLANTERS[bug]()


def _commit_highest_seen() -> None:
    def offset_and_metadata(
        self: PartitionLedger, completing: Collection[int] = ()
    ) -> OffsetAndMetadata | None:
        return None if self._next_offset is None else OffsetAndMetadata(self._next_offset, "")

    PartitionLedger.offset_and_metadata = offset_and_metadata  # type: ignore[method-assign]


def _drop_the_map() -> None:
    sound = PartitionLedger.offset_and_metadata

    def offset_and_metadata(
        self: PartitionLedger, completing: Collection[int] = ()
    ) -> OffsetAndMetadata | None:
        point = sound(self, completing)
        return None if point is None else OffsetAndMetadata(point.offset, "")

    PartitionLedger.offset_and_metadata = offset_and_metadata  # type: ignore[method-assign]


def _ignore_a_failed_send() -> None:
    sound = PartitionWriter._send

    async def send(
        self: PartitionWriter,
        producer: AIOKafkaProducer,
        builder: BatchBuilder,
        batch: Sequence[Message],
    ) -> None:
        try:
            await sound(self, producer, builder, batch)
        except (errors.KafkaError, errors.ProducerClosed) as error:
            log.warning("ignored: %r", error)

    PartitionWriter._send = send  # type: ignore[method-assign]


def _commit_before_acknowledgement() -> None:
    sound = AtLeastOnce._send

    async def send(self: AtLeastOnce, items: Sequence[WorkItem]) -> None:
        for item in items:
            item.assignment.ledger.complete(item.record.offset)
        await sound(self, items)

    AtLeastOnce._send = send  # type: ignore[method-assign]


def _complete_from_a_stale_epoch() -> None:
    sound = AssignedPartitions.change

    def change(
        self: AssignedPartitions,
        committed: Mapping[TopicPartition, OffsetAndMetadata | None],
        log_ids: Mapping[TopicPartition, bytes],
    ) -> AssignmentChange:
        changed = sound(self, committed, log_ids)
        for lost in changed.lost:
            lost.revoked = False
        return changed

    AssignedPartitions.change = change  # type: ignore[method-assign]


_PLANTERS: Mapping[Bug, Callable[[], None]] = {
    Bug.COMMIT_HIGHEST_SEEN: _commit_highest_seen,
    Bug.DROP_THE_MAP: _drop_the_map,
    Bug.IGNORE_A_FAILED_SEND: _ignore_a_failed_send,
    Bug.COMMIT_BEFORE_ACKNOWLEDGEMENT: _commit_before_acknowledgement,
    Bug.COMPLETE_FROM_A_STALE_EPOCH: _complete_from_a_stale_epoch,
    Bug.WAIT_FOR_A_HUNG_MODEL: wait_for_a_hung_model,
    Bug.TAKE_LOADING_FOR_NOTHING_COMMITTED: take_loading_for_nothing_committed,
    Bug.OUTLIVE_THE_SESSION: outlive_the_session,
}
