"""One transactional id: its epochs, its transactions, and what became of each.

Safe whatever other owners do, by four rules:

* Whoever takes the id over (InitProducerId) reads what the group has committed only afterwards,
  so that the group's committed point tells what the fenced owner achieved.
* After any failure the id is initialised again as its known producer and epoch (KIP-360), which
  the coordinator refuses once another owner has been initialised. It accepts it after it has
  aborted a transaction for its age, so that this is not taken for another owner (see ``LastEnd``
  for a coordinator that has restarted since).
* Where a commit's outcome is not known, the group's committed point decides: the transaction's
  own point means committed, the one before means aborted, anything else another owner.
* A coordinator that has ended a transaction may have left it open in a partition (see
  ``open_transactions``). An epoch therefore begins by ending what is still open, as the
  coordinator had decided.
"""

import asyncio
import contextlib
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import errors
from aiokafka.protocol.transaction import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    TxnOffsetCommitRequest,
)

from consumer.core.ports import CommitPoint, FencedError, Message, SourceError, TopicPartition
from consumer.kafka.cluster_client import ClusterClient, numbers_by_topic
from consumer.kafka.committed_points import read_points
from consumer.kafka.coordinated_requests import (
    CoordinatedRequests,
    codes_by_partition,
    single_code,
)
from consumer.kafka.open_transactions import OpenTransactions
from consumer.kafka.producer_slot import FIRST_BACKOFF_S, MAX_BACKOFF_S
from consumer.kafka.transaction_batches import (
    AttemptFailedError,
    BatchEncoder,
    BatchRefusedError,
    BatchSending,
    EpochGoneError,
    Explain,
    all_of,
)
from consumer.kafka.transaction_errors import TRANSACTIONAL_ID_NOT_FOUND
from consumer.kafka.transaction_wire import (
    NO_PRODUCER,
    DescribeTransactionsRequest,
    InitProducerIdRequest,
    StableOffsetFetchRequest,
)

log = logging.getLogger(__name__)

_UNDECIDED_S = 2.0
"""How long offsets may be undecided after the coordinator has ended the last transaction."""


class LastEnd(NamedTuple):
    """How a coordinator has ended a transactional id's last transaction.

    Attributes:
        state: As DescribeTransactions has it; empty where the broker cannot tell.
        producer: Its producer id and epoch.
    """

    state: str
    producer: tuple[int, ...]

    @property
    def is_commit(self) -> bool:
        """Whether it was committed, or is going to be."""
        return self.state in {"PrepareCommit", "CompleteCommit"}

    def is_abort_of(self, producer: tuple[int, int]) -> bool:
        """Say whether the coordinator may have aborted a transaction of ``producer`` for its age.

        It raises the epoch by one then. It would still accept the epoch before, were that not
        forgotten when the coordinator moves or restarts. Another owner whose first transaction was
        aborted looks the same, so the group's committed point has to be compared after all.
        """
        producer_id, epoch = producer
        is_abort = self.state in {"PrepareAbort", "CompleteAbort"}
        return is_abort and self.producer == (producer_id, epoch + 1)


class MessageRefusedError(Exception):
    """A single message that the broker refuses; its transaction was aborted.

    Attributes:
        partition: Where it was to go.
        position: Which of the partition's messages it is.
        reason: Why, for a person.
    """

    def __init__(self, partition: TopicPartition, position: int, reason: str) -> None:
        super().__init__(f"{partition}: {reason}")
        self.partition = partition
        self.position = position
        self.reason = reason


class TransactionalId:
    """Publishes in transactions for one input partition.

    Args:
        client: The cluster.
        open_transactions: Tells which transactions the output partitions hold open.
        name: The transactional id.
        group: The consumer group whose progress is committed.
        partition: The input partition.
        timeout_ms: After this the coordinator aborts a transaction.
        max_batch_bytes: The most that a batch of several messages takes.
        explain: Makes a ``SourceError`` of a broker's refusal.
    """

    def __init__(
        self,
        client: ClusterClient,
        open_transactions: OpenTransactions,
        *,
        name: str,
        group: str,
        partition: TopicPartition,
        timeout_ms: int,
        max_batch_bytes: int,
        explain: Explain,
    ) -> None:
        self._requests = CoordinatedRequests(client, name, group, explain)
        self._open_transactions = open_transactions
        self._name = name
        self._group = group
        self._partition = partition
        self._timeout_ms = timeout_ms
        self._explain = explain
        self._producer = NO_PRODUCER
        self._encoder = BatchEncoder(max_batch_bytes)
        self._sending = BatchSending(client, name, client.request_timeout_ms, explain)
        self._committed: CommitPoint | None = None
        self._is_open = False
        self._last_end = LastEnd("", NO_PRODUCER)

    async def take_over(self) -> None:
        """Fence every other owner, and learn what the group has committed.

        An owner that has not been fenced stays the owner. A transaction that was left open is
        aborted; one that was being committed is waited for.

        Raises:
            SourceError: The broker refuses us.
        """
        if self._producer == NO_PRODUCER or not await self._initialise(self._producer):
            await self._initialise(NO_PRODUCER)
        self._committed = await self._fetch_committed()

    async def publish(
        self, messages: Mapping[TopicPartition, Sequence[Message]], point: CommitPoint
    ) -> None:
        """Publish messages and commit ``point`` in one transaction, which takes effect once.

        Raises:
            FencedError: Another owner has taken the id over.
            MessageRefusedError: The broker refuses a message; nothing was published.
            SourceError: The broker refuses us.
        """
        most_records: int | None = None
        backoff_s = FIRST_BACKOFF_S
        while True:
            is_deciding = False
            try:
                await self._open(messages)
                # Half of it is for the coordinator to hear of the end.
                async with asyncio.timeout(self._timeout_ms / 2000):
                    await self._fill(messages, point, most_records)
                is_deciding = True
                await self._close(is_commit=True)
            except EpochGoneError:
                if await self._was_committed(point, may_be=is_deciding):
                    break
            except (AttemptFailedError, TimeoutError) as error:
                log.warning("%s: transaction begins again after %r", self._name, error)
                await self._roll_back()
                if isinstance(error, BatchRefusedError):
                    most_records = _narrow_down(error)
                    continue
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)
            else:
                break
        self._is_open = False
        self._committed = point

    async def abort(self) -> None:
        """Abort the transaction that a cancelled ``publish`` has left open, if any."""
        if self._is_open:
            try:
                await self._close(is_commit=False)
            except (EpochGoneError, AttemptFailedError) as error:
                log.debug("%s: nothing to abort (%r)", self._name, error)

    async def _open(self, touched: Collection[TopicPartition]) -> None:
        """Tell the coordinator what the transaction will touch, the group's offsets apart."""
        self._is_open = True
        offsets = AddOffsetsToTxnRequest(self._name, *self._producer, self._group)
        ask = self._requests.ask_transactions
        # A coordinator that went may not have carried out the last transaction's end.
        asking = [ask(offsets, single_code, may_repeat=False)]
        if touched:
            partitions = AddPartitionsToTxnRequest(
                self._name, *self._producer, numbers_by_topic(touched)
            )
            asking.append(ask(partitions, codes_by_partition, may_repeat=False))
        # One behind the other on one connection; the coordinator takes them in turn.
        await all_of(*asking)

    async def _fill(
        self,
        messages: Mapping[TopicPartition, Sequence[Message]],
        point: CommitPoint,
        most_records: int | None,
    ) -> None:
        """Send messages and offsets; return when all are acknowledged."""
        batches = {
            partition: self._encoder.encode(partition, each, most_records)
            for partition, each in messages.items()
        }
        topic, number = self._partition
        offsets = TxnOffsetCommitRequest(
            self._name,
            self._group,
            *self._producer,
            [(topic, [(number, point.offset, point.metadata)])],
        )
        await all_of(
            self._sending.send(batches),
            self._requests.ask_group(offsets, codes_by_partition),
        )

    async def _close(self, *, is_commit: bool) -> None:
        """End the transaction; return when the end is certain, though not yet carried out."""
        request = EndTxnRequest(self._name, *self._producer, is_commit)
        await self._requests.ask_transactions(request, single_code)
        self._is_open = False

    async def _roll_back(self) -> None:
        """Abort what there is, and go on under a new epoch, which late requests do not have.

        Raises:
            FencedError: Another owner has taken the id over.
        """
        try:
            # Checks the epoch, as InitProducerId does not while a transaction is open: it would
            # abort another owner's.
            await self._close(is_commit=False)
        except EpochGoneError:
            log.info("%s: nothing to roll back, the epoch is another", self._name)
        except AttemptFailedError as error:
            log.debug("%s: nothing to roll back (%r)", self._name, error)
        await self._go_on()

    async def _go_on(self) -> None:
        """Initialise the id as the producer that we are.

        Raises:
            FencedError: Another owner has been initialised, or has committed, since.
        """
        is_ours = await self._initialise(self._producer)
        if not is_ours or await self._fetch_committed() != self._committed:
            raise self._fenced()

    async def _was_committed(self, point: CommitPoint, *, may_be: bool) -> bool:
        """Say whether a transaction whose epoch has gone was committed; if not, begin again.

        Args:
            point: Its commit point.
            may_be: It had been asked to commit.

        Raises:
            FencedError: Another owner has taken the id over.
        """
        is_ours = await self._initialise(self._producer)
        committed = await self._fetch_committed()
        if may_be and committed == point and point != self._committed:
            return True
        if not is_ours or committed != self._committed:
            raise self._fenced()
        log.warning("%s: the coordinator has aborted a transaction; it begins again", self._name)
        return False

    async def _initialise(self, expected: tuple[int, int]) -> bool:
        """Get an epoch: the next one of ``expected``, or, if that is new, one that fences all.

        Returns:
            False where it is refused, as another producer has been initialised since.
        """
        request = InitProducerIdRequest(self._name, self._timeout_ms, expected)
        answer: list[tuple[int, int]] = []

        def take(response: Any) -> set[int]:
            answer[:] = [(response.producer_id, response.producer_epoch)]
            return {response.error_code}

        try:
            self._last_end = await self._find_last_end()
            await self._requests.ask_transactions(request, take)
            (self._producer,) = answer
            self._encoder.begin_epoch(*self._producer)
            self._is_open = False
            if left_open := await self._open_transactions.of(self._producer[0]):
                await self._end_left_open(left_open)
        except (EpochGoneError, AttemptFailedError) as error:
            if expected == NO_PRODUCER:
                raise SourceError(f"{self._name}: not to be initialised: {error}") from error
            return self._last_end.is_abort_of(expected) and await self._initialise(NO_PRODUCER)
        except errors.IncompatibleBrokerVersion:
            # An old broker cannot tell; the committed point still does.
            return await self._initialise(NO_PRODUCER)
        except errors.UnknownTopicOrPartitionError as error:
            raise self._explain(error) from error
        return True

    async def _find_last_end(self) -> LastEnd:
        """Return what the coordinator holds of the last transaction; some brokers cannot tell."""
        found = [LastEnd("", NO_PRODUCER)]

        def take(response: Any) -> set[int]:
            ((code, _name, state, _timeout_ms, _started_ms, *producer, _topics, _tags),) = (
                response.transactions
            )
            found.append(LastEnd(state, tuple(producer)))
            return set() if code == TRANSACTIONAL_ID_NOT_FOUND else {code}

        with contextlib.suppress(errors.IncompatibleBrokerVersion):
            request = DescribeTransactionsRequest(self._name)
            await self._requests.ask_transactions(request, take)
        return found[-1]

    async def _end_left_open(self, partitions: Collection[TopicPartition]) -> None:
        """Carry out the end of a transaction that the coordinator takes for ended.

        A marker of this epoch closes what an earlier one has left open in the same partitions.
        """
        log.warning(
            "%s: its last transaction was left open in %s; %s it",
            self._name,
            ", ".join(f"{topic}/{number}" for topic, number in partitions) or "the group's offsets",
            "commits" if self._last_end.is_commit else "aborts",
        )
        await self._open(partitions)
        await self._close(is_commit=self._last_end.is_commit)

    async def _fetch_committed(self) -> CommitPoint | None:
        """Return what the group has committed, once no transaction on it is undecided.

        Raises:
            FencedError: Another owner's transaction has been undecided for long.
        """
        try:
            while True:
                try:
                    async with asyncio.timeout(_UNDECIDED_S):
                        return await self._fetch_stable()
                except TimeoutError:
                    await self._end_left_open(())
        except EpochGoneError as error:
            raise self._fenced() from error
        except AttemptFailedError as error:
            raise SourceError(f"{self._name}: reading committed offsets: {error}") from error

    async def _fetch_stable(self) -> CommitPoint | None:
        topic, number = self._partition
        request = StableOffsetFetchRequest(self._group, [(topic, [number])])
        points: dict[TopicPartition, CommitPoint | None] = {}

        def take(response: Any) -> set[int]:
            codes, found = read_points(response)
            points.update(found)
            return codes

        await self._requests.ask_group(request, take)
        return points.get(self._partition)

    def _fenced(self) -> FencedError:
        return FencedError(f"{self._partition} is another member's now ({self._name})")


def _narrow_down(error: BatchRefusedError) -> int:
    """Return how many records a batch may have next, to find the one at fault."""
    if error.batch.records == 1:
        raise MessageRefusedError(error.partition, error.batch.first, str(error)) from error
    return error.batch.records // 2
