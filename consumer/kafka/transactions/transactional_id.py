"""One transactional id: its transactions, and the outcome of each.

Four rules keep it safe whatever other owners do:

* A new owner (InitProducerId) reads what the group has committed only afterwards, so the group's
  committed offset shows what the fenced owner achieved.
* After any failure the id is initialised again as its known producer and epoch (KIP-360), which
  the coordinator refuses once another owner has been initialised. It accepts it after it has
  aborted a transaction for its age, so that this is not taken for another owner (see
  ``epochs.LastEnd`` for a coordinator that has restarted since).
* If a commit's outcome is unknown, the group's committed offset decides: the transaction's own
  means committed, the one before means aborted, any other means another owner.
* A coordinator that has ended a transaction may have left it open in a partition, so an epoch
  begins by ending what is still open (see ``epochs``); and after every disruption of the cluster
  another epoch begins, before the next transaction's end could be that one's too.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from aiokafka.protocol.transaction import TxnOffsetCommitRequest

from consumer.engine.counters import Published
from consumer.kafka.client.cluster_client import ClusterClient
from consumer.kafka.sink.producer_slot import FIRST_BACKOFF_S, MAX_BACKOFF_S
from consumer.kafka.sink.refusals import INVALID_TIMESTAMP
from consumer.kafka.transactions.batches import (
    UNCOMPRESSED,
    AttemptFailedError,
    Batch,
    BatchEncoder,
    BatchRefusedError,
    BatchSending,
    EpochGoneError,
    Explain,
    PartitionsStandError,
    ReplyFailedError,
    all_of,
)
from consumer.kafka.transactions.coordinated_requests import codes_by_partition
from consumer.kafka.transactions.epochs import UNDECIDED_S, Epochs, UndecidedError
from consumer.kafka.transactions.wire import NO_PRODUCER
from consumer.ports import FencedError, Message, OffsetAndMetadata, TopicPartition

log = logging.getLogger(__name__)

_REPLIES_PATIENCE_S = 3.0
"""How long reply topics may hold a transaction up. Its other results wait meanwhile."""
_REPLY_ATTEMPTS = 3
"""How often a transaction begins again after an error of a reply topic that may be the epoch's."""


class MessageRefusedError(Exception):
    """The broker refuses a single message, at ``position``; its transaction was aborted."""

    def __init__(self, partition: TopicPartition, position: int, code: int) -> None:
        super().__init__(f"{partition}: message {position} is refused with error {code}")
        self.partition = partition
        self.position = position
        self.code = code


class TransactionalId:
    def __init__(
        self,
        client: ClusterClient,
        epochs: Epochs,
        *,
        batch_bytes: Callable[[str], int],
        explain: Explain,
        published: Published | None = None,
        codec: int = UNCOMPRESSED,
    ) -> None:
        self._published = published or Published()
        self._filled: Sequence[Batch] = ()
        self._epochs = epochs
        self._identity = epochs.identity
        self._name = epochs.identity.name
        self._encoder = BatchEncoder(batch_bytes, codec)
        self._sending = BatchSending(client, self._name, client.request_timeout_ms, explain)
        # Well within the time that the transaction has to be filled.
        self._patience_s = min(_REPLIES_PATIENCE_S, self._identity.timeout_ms / 4000)
        self._committed: OffsetAndMetadata | None = None

    @property
    def has_begun(self) -> bool:
        """Whether it has had an epoch, and so may have left a transaction open."""
        return self._epochs.producer != NO_PRODUCER

    async def take_over(self) -> None:
        """Fence every other owner, and read what the group has committed.

        An owner that has not been fenced stays the owner. A transaction that was left open is
        aborted; one that was being committed is waited for.
        """
        epochs = self._epochs
        if epochs.producer == NO_PRODUCER or not await epochs.begin(epochs.producer):
            await epochs.begin(NO_PRODUCER)
        while True:
            try:
                self._committed = await epochs.end_open()
            except FencedError as error:
                log.info(
                    "%s: takes over again, as %s",
                    self._name,
                    error,
                    extra={
                        "event": "transaction_taken_over",
                        "transactional_id": self._name,
                        "error_class": type(error).__name__,
                    },
                )
                await epochs.begin(NO_PRODUCER)
            else:
                return

    async def publish(
        self,
        messages: Mapping[TopicPartition, Sequence[Message]],
        point: OffsetAndMetadata,
        replies: AbstractSet[TopicPartition] = frozenset(),
    ) -> None:
        """Publish messages and commit ``point`` in one transaction, which takes effect once.

        ``FencedError`` means that another owner has taken the id over; ``MessageRefusedError``, or
        ``PartitionsStandError`` of partitions among ``replies``, that nothing was published.
        """
        most_records: int | None = None
        backoff_s = FIRST_BACKOFF_S
        attempts = _Attempts()
        while True:
            is_deciding = False
            try:
                if self._epochs.is_in_doubt or self._encoder.is_full:
                    await self._go_on()
                await self._epochs.open(messages, replies=replies)
                # Half of it is for the coordinator to hear of the end.
                async with asyncio.timeout(self._identity.timeout_ms / 2000):
                    await self._fill(messages, point, most_records, replies)
                is_deciding = True
                await self._epochs.close(is_commit=True)
            except EpochGoneError:
                if await self._was_committed(point, may_be=is_deciding):
                    break
            except (AttemptFailedError, TimeoutError) as error:
                self._published.publish_retries += 1
                log.warning(
                    "%s: transaction begins again after %r",
                    self._name,
                    error,
                    extra={
                        "event": "transaction_retried",
                        "transactional_id": self._name,
                        "error_class": type(error).__name__,
                    },
                )
                if not is_deciding:
                    await self._roll_back()
                elif await self._was_committed(point, may_be=True):
                    break
                attempts.check_replies(error)
                if isinstance(error, BatchRefusedError):
                    most_records = _narrow_down(error, most_records)
                    continue
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)
            else:
                break
        self._committed = point
        for batch in self._filled:
            self._published.acknowledged(batch.records, len(batch.encoded))
        self._filled = ()
        if self._epochs.is_in_doubt:
            # Otherwise a reader might wait for the end until there is something to publish again.
            await self._go_on()

    async def abort(self) -> None:
        await self._epochs.abort()

    async def _fill(
        self,
        messages: Mapping[TopicPartition, Sequence[Message]],
        point: OffsetAndMetadata,
        most_records: int | None,
        replies: AbstractSet[TopicPartition] = frozenset(),
    ) -> None:
        producer = self._epochs.producer
        self._encoder.begin_epoch(*producer)
        batches = {
            partition: self._encoder.encode(partition, each, most_records)
            for partition, each in messages.items()
        }
        self._filled = [batch for each in batches.values() for batch in each]
        topic, number = self._identity.partition
        offsets = TxnOffsetCommitRequest(
            self._name,
            self._identity.group,
            *producer,
            [(topic, [(number, point.offset, point.metadata)])],
        )
        await all_of(
            self._sending.send(batches, replies, self._patience_s),
            self._epochs.requests.ask_group(offsets, codes_by_partition),
        )

    async def _roll_back(self) -> None:
        """Abort, and go on under a new epoch, which late requests do not have."""
        try:
            # Checks the epoch, as InitProducerId does not while a transaction is open: it would
            # abort another owner's.
            await self._epochs.close(is_commit=False)
        except EpochGoneError:
            log.info(
                "%s: nothing to roll back, the epoch is another",
                self._name,
                extra={"event": "transaction_not_ours", "transactional_id": self._name},
            )
        except AttemptFailedError as error:
            log.debug("%s: nothing to roll back (%r)", self._name, error)
        await self._go_on()

    async def _go_on(self) -> None:
        """Initialise the id as our producer, or raise ``FencedError`` if another came."""
        is_ours = await self._epochs.begin(self._epochs.producer)
        if not is_ours or await self._epochs.end_open() != self._committed:
            raise self._epochs.fenced()

    async def _was_committed(self, point: OffsetAndMetadata, *, may_be: bool) -> bool:
        """Return whether a transaction whose epoch has gone was committed; if not, begin again."""
        epochs = self._epochs
        is_ours = await epochs.begin(epochs.producer)
        try:
            committed = await (epochs.end_open() if is_ours else epochs.read_committed(UNDECIDED_S))
        except UndecidedError as error:
            raise epochs.fenced() from error
        if may_be and committed == point and point != self._committed:
            return True
        if not is_ours or committed != self._committed:
            raise epochs.fenced()
        log.warning(
            "%s: the coordinator has aborted a transaction; it begins again",
            self._name,
            extra={
                "event": "transaction_aborted",
                "reason": "coordinator",
                "transactional_id": self._name,
            },
        )
        return False


class _Attempts:
    """Counts the attempts at a transaction that a reply topic may have brought to nothing."""

    def __init__(self) -> None:
        self._failed_replies = 0

    def check_replies(self, error: Exception) -> None:
        """Raise ``PartitionsStandError`` if it is time to go on without a reply topic."""
        if isinstance(error, PartitionsStandError):
            raise error
        if isinstance(error, ReplyFailedError):
            self._failed_replies += 1
            if self._failed_replies >= _REPLY_ATTEMPTS:
                raise PartitionsStandError({error.partition: error.code}) from error


def _narrow_down(error: BatchRefusedError, most_records: int | None) -> int:
    """Return how many records a batch may have next, to find the one at fault."""
    if error.batch.records > 1:
        return error.batch.records // 2
    if error.code == INVALID_TIMESTAMP and most_records != 1:
        # It may have waited long for its leader; now it gets the time of its next try.
        return 1
    raise MessageRefusedError(error.partition, error.batch.first, error.code) from error
