"""One transactional id: its epochs, its transactions, and what became of each.

Safe whatever other owners do, by three rules:

* Whoever takes the id over (InitProducerId) reads what the group has committed only afterwards,
  so that the group's committed point tells what the fenced owner achieved.
* After any failure the id is initialised again as its known producer and epoch (KIP-360), which
  the coordinator refuses once another owner has been initialised. It accepts it after it has
  aborted a transaction for its age, so that this is not taken for another owner.
* Where a commit's outcome is not known, the group's committed point decides: the transaction's
  own point means committed, the one before means aborted, anything else another owner.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from aiokafka import errors
from aiokafka.protocol.api import Request
from aiokafka.protocol.transaction import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    TxnOffsetCommitRequest,
)

from consumer.core.ports import CommitPoint, FencedError, Message, SourceError, TopicPartition
from consumer.kafka.cluster_client import ClusterClient
from consumer.kafka.committed_points import read_points
from consumer.kafka.producer_slot import FIRST_BACKOFF_S, MAX_BACKOFF_S, REFUSALS
from consumer.kafka.transaction_batches import (
    AttemptFailedError,
    BatchEncoder,
    BatchRefusedError,
    BatchSending,
    EpochGoneError,
    Explain,
    all_of,
)
from consumer.kafka.transaction_errors import (
    INVALID_PRODUCER_ID_MAPPING,
    INVALID_TXN_STATE,
    NONE,
    UNKNOWN_TOPIC_OR_PARTITION,
    NextStep,
    next_step,
)
from consumer.kafka.transaction_wire import (
    NO_PRODUCER,
    InitProducerIdRequest,
    StableOffsetFetchRequest,
)

log = logging.getLogger(__name__)

_SOON_S = 0.002
_UNKNOWN_TOPIC_PATIENCE = 12
"""How often in a row a topic may be unknown, with growing pauses: about 40 s."""


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
        *,
        name: str,
        group: str,
        partition: TopicPartition,
        timeout_ms: int,
        max_batch_bytes: int,
        explain: Explain,
    ) -> None:
        self._client = client
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

    async def _open(self, messages: Mapping[TopicPartition, Sequence[Message]]) -> None:
        """Tell the coordinator what the transaction will touch."""
        self._is_open = True
        offsets = AddOffsetsToTxnRequest(self._name, *self._producer, self._group)
        asking = [self._ask_transactions(offsets, _single_code)]
        if messages:
            topics: dict[str, list[int]] = {}
            for partition in messages:
                topics.setdefault(partition.topic, []).append(partition.partition)
            partitions = AddPartitionsToTxnRequest(
                self._name, *self._producer, list(topics.items())
            )
            asking.append(self._ask_transactions(partitions, _codes_by_partition))
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
            self._ask(
                lambda: self._client.ask_group(self._group, offsets),
                _codes_by_partition,
                self._group,
            ),
        )

    async def _close(self, *, is_commit: bool) -> None:
        """End the transaction; return when the end is certain, though not yet carried out."""
        request = EndTxnRequest(self._name, *self._producer, is_commit)
        await self._ask_transactions(request, _single_code)
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
            FencedError: Another owner has been initialised since.
        """
        if not await self._initialise(self._producer):
            raise FencedError(f"{self._partition} is another member's now ({self._name})")

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
            raise FencedError(f"{self._partition} is another member's now ({self._name})")
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
            await self._ask_transactions(request, take)
        except (EpochGoneError, AttemptFailedError) as error:
            if expected == NO_PRODUCER:
                raise SourceError(f"{self._name}: not to be initialised: {error}") from error
            return False
        except errors.IncompatibleBrokerVersion:
            # An old broker cannot tell; the committed point still does.
            return await self._initialise(NO_PRODUCER)
        (self._producer,) = answer
        self._encoder.begin_epoch(*self._producer)
        self._is_open = False
        return True

    async def _fetch_committed(self) -> CommitPoint | None:
        """Return what the group has committed, once no transaction on it is undecided."""
        topic, number = self._partition
        request = StableOffsetFetchRequest(self._group, [(topic, [number])])
        points: dict[TopicPartition, CommitPoint | None] = {}

        def take(response: Any) -> set[int]:
            codes, found = read_points(response)
            points.update(found)
            return codes

        try:
            await self._ask(lambda: self._client.ask_group(self._group, request), take, self._group)
        except (EpochGoneError, AttemptFailedError) as error:
            raise SourceError(f"{self._name}: reading committed offsets: {error}") from error
        return points.get(self._partition)

    async def _ask_transactions(
        self, request: Request[Any], codes_of: Callable[[Any], set[int]]
    ) -> None:
        await self._ask(
            lambda: self._client.ask_transactions(self._name, request), codes_of, self._name
        )

    async def _ask(
        self,
        send: Callable[[], Coroutine[Any, Any, Any]],
        codes_of: Callable[[Any], set[int]],
        coordinated: str,
    ) -> None:
        """Send a request, which may be repeated, until it has an answer that counts.

        Args:
            send: Sends it to its coordinator.
            codes_of: Returns the response's error codes.
            coordinated: The transactional id or group, to look its coordinator up again.
        """
        backoff_s = FIRST_BACKOFF_S
        unknown_topics = 0
        while True:
            try:
                codes = codes_of(await send()) - {NONE}
            except (*REFUSALS, errors.GroupAuthorizationFailedError) as error:
                raise self._explain(error) from error
            except errors.TransactionalIdAuthorizationFailed as error:
                raise self._explain(error) from error
            except errors.IncompatibleBrokerVersion:
                raise
            except (errors.KafkaError, OSError) as error:
                log.info("%s: asks again after %r", self._name, error)
                codes = set()
            else:
                if not codes:
                    return
                unknown_topics += UNKNOWN_TOPIC_OR_PARTITION in codes
                if unknown_topics == _UNKNOWN_TOPIC_PATIENCE:
                    raise self._explain(errors.UnknownTopicOrPartitionError())
                if self._is_soon(codes):
                    await asyncio.sleep(_SOON_S)
                    continue
                self._client.forget_coordinators(coordinated)
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)

    def _is_soon(self, codes: set[int]) -> bool:
        """Raise what ends the attempt; else say whether to ask the same coordinator again."""
        steps = {next_step(code): code for code in sorted(codes)}
        if NextStep.FENCED in steps:
            raise EpochGoneError(_describe(codes))
        if NextStep.REFUSED in steps:
            kind = errors.for_code(steps[NextStep.REFUSED])
            raise self._explain(kind(self._name))
        if codes & {INVALID_TXN_STATE, INVALID_PRODUCER_ID_MAPPING} or steps.keys() & {
            NextStep.BEGIN_AGAIN,
            NextStep.REJECT,
        }:
            raise AttemptFailedError(_describe(codes))
        return NextStep.MOVED not in steps


def _narrow_down(error: BatchRefusedError) -> int:
    """Return how many records a batch may have next, to find the one at fault."""
    if error.batch.records == 1:
        raise MessageRefusedError(error.partition, error.batch.first, str(error)) from error
    return error.batch.records // 2


def _single_code(response: Any) -> set[int]:
    return {response.error_code}


def _codes_by_partition(response: Any) -> set[int]:
    return {code for _topic, results in response.errors for _partition, code in results}


def _describe(codes: set[int]) -> str:
    return ", ".join(f"{errors.for_code(code).__name__} ({code})" for code in sorted(codes))
