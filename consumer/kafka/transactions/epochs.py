"""The epochs of one transactional id: begins one, and ends what earlier ones left open.

A coordinator that has ended a transaction may have left it open in a partition, or its offsets
undecided (see ``open_transactions``), and InitProducerId overwrites the coordinator's account of
how it ended. So an epoch begins in two steps: ``begin`` notes that account and initialises the id;
``end_open`` ends open transactions by the account, and returns what the group has committed. The
account is kept here until then, whatever fails.
"""

import asyncio
import contextlib
import logging
from collections.abc import Collection
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from aiokafka import errors
from aiokafka.protocol.transaction import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
)

from consumer.kafka.client.cluster_client import ClusterClient, numbers_by_topic
from consumer.kafka.client.offsets import CommittedOffsetsRequest, read_points
from consumer.kafka.sink.producer_slot import FIRST_BACKOFF_S, MAX_BACKOFF_S
from consumer.kafka.transactions.batches import (
    AttemptFailedError,
    EpochGoneError,
    Explain,
    all_of,
)
from consumer.kafka.transactions.coordinated_requests import (
    CoordinatedRequests,
    RefusedReplies,
    codes_by_partition,
    single_code,
)
from consumer.kafka.transactions.errors import TRANSACTIONAL_ID_NOT_FOUND, UNSTABLE_OFFSET_COMMIT
from consumer.kafka.transactions.open_transactions import OpenTransactions
from consumer.kafka.transactions.wire import (
    NO_PRODUCER,
    DescribeTransactionsRequest,
    InitProducerIdRequest,
)
from consumer.ports import FencedError, OffsetAndMetadata, SourceError, TopicPartition

log = logging.getLogger(__name__)

UNDECIDED_S = 2.0
"""How long offsets may be undecided after the coordinator has ended the last transaction."""


class UndecidedError(Exception):
    """A transaction on the group's offsets has been undecided for too long."""


class Identity(NamedTuple):
    """A transactional id, its group, its input partition, and the coordinator's timeout."""

    name: str
    group: str
    partition: TopicPartition
    timeout_ms: int


class LastEnd(NamedTuple):
    """How a coordinator ended an id's last transaction; ``state`` is empty if unknown."""

    state: str
    producer: tuple[int, ...]

    @property
    def is_commit(self) -> bool:
        return self.state in {"PrepareCommit", "CompleteCommit"}

    def is_abort_of(self, producer: tuple[int, int]) -> bool:
        """Return whether the coordinator may have aborted an old transaction of ``producer``.

        It grows the epoch by one then, and forgets the former one when it moves or restarts.
        Another owner whose first transaction was aborted looks the same, so the group's committed
        point has to be compared as well.
        """
        is_abort = self.state in {"PrepareAbort", "CompleteAbort"}
        return is_abort and self.producer == _next_epoch(producer)

    def is_begun_after(self, other: "LastEnd") -> bool:
        return self.state == "Empty" and self.producer == _next_epoch(other.producer)


class Epochs:
    """Begins epochs of one transactional id, and opens and ends transactions in them."""

    def __init__(
        self,
        client: ClusterClient,
        open_transactions: OpenTransactions,
        identity: Identity,
        explain: Explain,
    ) -> None:
        self.identity = identity
        self.producer = NO_PRODUCER
        self.requests = CoordinatedRequests(client, identity.name, identity.group, explain)
        self._client = client
        self._open_transactions = open_transactions
        self._name = identity.name
        self._explain = explain
        self._is_open = False
        self._disruptions_seen = 0
        self._last_end = LastEnd("", NO_PRODUCER)
        self._owed: LastEnd | None = None
        self._is_owing = False

    @property
    def is_in_doubt(self) -> bool:
        """Whether a transaction of this epoch may have been left open by its coordinator."""
        return self._client.disruptions != self._disruptions_seen

    async def begin(self, expected: tuple[int, int]) -> bool:
        """Get ``expected``'s next epoch, or fence all; False if another producer has come since."""
        self._disruptions_seen = self._client.disruptions
        answer: list[tuple[int, int]] = []

        def take(response: Any) -> set[int]:
            answer[:] = [(response.producer_id, response.producer_epoch)]
            return {response.error_code}

        request = InitProducerIdRequest(self._name, self.identity.timeout_ms, expected)
        try:
            # It overwrites the account, perhaps also if it fails: note that before each try.
            await self.requests.ask_transactions(request, take, first=self._note_last_end)
        except (EpochGoneError, AttemptFailedError) as error:
            if expected == NO_PRODUCER:
                raise SourceError(f"{self._name}: not to be initialised: {error}") from error
            return self._last_end.is_abort_of(expected) and await self.begin(NO_PRODUCER)
        except errors.IncompatibleBrokerVersion:
            # On an old broker only the committed offset and metadata tell owners apart.
            return await self.begin(NO_PRODUCER)
        (self.producer,) = answer
        self._is_open = False
        if self._owed is not None:
            self._owed = self._owed._replace(producer=self.producer)
            self._is_owing = True
        return True

    async def end_open(self) -> OffsetAndMetadata | None:
        """End open transactions as decided, and return the commit; ``FencedError`` if not ours."""
        backoff_s = FIRST_BACKOFF_S
        while True:
            left_open = await self._find_left_open()
            if not left_open:
                with contextlib.suppress(UndecidedError):
                    patience_s = UNDECIDED_S if self._is_owing else None
                    committed = await self.read_committed(patience_s)
                    self._owed = None
                    self._is_owing = False
                    return committed
            try:
                await self._end_left_open(left_open)
            except (EpochGoneError, AttemptFailedError) as error:
                log.info(
                    "%s: begins another epoch after %r",
                    self._name,
                    error,
                    extra={
                        "event": "transaction_retried",
                        "transactional_id": self._name,
                        "error_class": type(error).__name__,
                    },
                )
                if not await self.begin(self.producer):
                    raise self.fenced() from error
            # This end's markers may have been skipped as well: ask again.
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)

    async def read_committed(self, patience_s: float | None) -> OffsetAndMetadata | None:
        """Return the commit once it is decided; ``UndecidedError`` after ``patience_s``."""
        topic, number = self.identity.partition
        points: dict[TopicPartition, OffsetAndMetadata | None] = {}
        undecided_since: list[float] = []

        def take(response: Any) -> set[int]:
            codes, found = read_points(response)
            points.update(found)
            if UNSTABLE_OFFSET_COMMIT in codes:
                now_s = asyncio.get_running_loop().time()
                undecided_since.append(now_s)
                if patience_s is not None and now_s - undecided_since[0] > patience_s:
                    raise UndecidedError(str(self.identity.partition))
            return codes

        request = CommittedOffsetsRequest(
            self.identity.group, [(topic, [number])], require_stable=True
        )
        try:
            await self.requests.ask_group(request, take)
        except (EpochGoneError, AttemptFailedError) as error:
            raise SourceError(f"{self._name}: reading committed offsets: {error}") from error
        return points.get(self.identity.partition)

    async def open(
        self,
        touched: Collection[TopicPartition],
        *,
        may_repeat: bool = False,
        replies: AbstractSet[TopicPartition] = frozenset(),
    ) -> None:
        """Add partitions, and the group's offsets, to a transaction.

        ``PartitionsStandError`` if partitions among ``replies`` are refused, or do not exist.

        Only with ``may_repeat`` it retries after the coordinator was lost, which may not have
        carried out the end of the transaction before.
        """
        self._is_open = True
        ask = self.requests.ask_transactions
        offsets = AddOffsetsToTxnRequest(self._name, *self.producer, self.identity.group)
        asking = [ask(offsets, single_code, may_repeat=may_repeat)]
        if touched:
            partitions = AddPartitionsToTxnRequest(
                self._name, *self.producer, numbers_by_topic(touched)
            )
            codes_of = RefusedReplies(replies) if replies else codes_by_partition
            asking.append(ask(partitions, codes_of, may_repeat=may_repeat))
        # The coordinator handles the requests of one connection in turn.
        await all_of(*asking)

    async def close(self, *, is_commit: bool) -> None:
        """End the transaction; return once the end is certain, perhaps before it is carried out."""
        request = EndTxnRequest(self._name, *self.producer, is_commit)
        await self.requests.ask_transactions(request, single_code)
        self._is_open = False

    async def abort(self) -> None:
        """Abort the transaction that a cancelled call has left open, if any.

        If an earlier one has yet to be committed, the coordinator's account says so again
        afterwards, for the id's next owner.
        """
        is_commit = self._is_owing and self._owed is not None and self._owed.is_commit
        try:
            if is_commit and not self._is_open:
                await self.open(())
            if self._is_open:
                await self.close(is_commit=is_commit)
        except (EpochGoneError, AttemptFailedError) as error:
            log.debug("%s: nothing to abort (%r)", self._name, error)

    async def end_if_known(self) -> None:
        """Fence the id's owner and end open transactions, if the id was ever used."""
        try:
            if await self._is_known():
                await self.begin(NO_PRODUCER)
                await self.end_open()
        except FencedError as error:
            log.info(
                "%s: is fenced already (%s)",
                self._name,
                error,
                extra={"event": "transaction_not_ours", "transactional_id": self._name},
            )
        except SourceError as error:
            if not isinstance(error.__cause__, errors.TransactionalIdAuthorizationFailed):
                raise
            log.debug("%s: no owner with our rights (%s)", self._name, error)

    async def _is_known(self) -> bool:
        """Return whether the coordinator knows the id; True from brokers before Kafka 3.0."""
        unknown: list[int] = []

        def take(response: Any) -> set[int]:
            ((code, *_),) = response.transactions
            unknown[:] = [code] if code == TRANSACTIONAL_ID_NOT_FOUND else []
            return {code}.difference(unknown)

        with contextlib.suppress(errors.IncompatibleBrokerVersion):
            await self.requests.ask_transactions(DescribeTransactionsRequest(self._name), take)
        return not unknown

    def fenced(self) -> FencedError:
        return FencedError(f"{self.identity.partition} is another member's now ({self._name})")

    async def _note_last_end(self) -> None:
        found = self._last_end = await self._find_last_end()
        owed = self._owed
        if owed is not None and self._is_owing and found.producer == owed.producer:
            # A transaction under way in our own epoch carries out the end that is owed.
            return
        if owed is not None and found.is_begun_after(owed):
            # Our own InitProducerId, whose response was lost.
            self._owed = owed._replace(producer=found.producer)
            return
        self._owed = found if found.state else None
        self._is_owing = False

    async def _find_last_end(self) -> LastEnd:
        found = [LastEnd("", NO_PRODUCER)]

        def take(response: Any) -> set[int]:
            ((code, _name, state, _timeout_ms, _started_ms, *producer, _topics, _tags),) = (
                response.transactions
            )
            found.append(LastEnd(state, tuple(producer)))
            return set() if code == TRANSACTIONAL_ID_NOT_FOUND else {code}

        # Kafka answers this since 3.0.
        with contextlib.suppress(errors.IncompatibleBrokerVersion):
            request = DescribeTransactionsRequest(self._name)
            await self.requests.ask_transactions(request, take)
        return found[-1]

    async def _find_left_open(self) -> Collection[TopicPartition]:
        if not self._is_owing:
            return ()
        try:
            return await self._open_transactions.of(self.producer[0])
        except errors.KafkaError as error:
            raise self._explain(error) from error

    async def _end_left_open(self, partitions: Collection[TopicPartition]) -> None:
        """Carry out an end that was decided; its markers close earlier epochs too."""
        is_commit = self._owed is not None and self._owed.is_commit
        log.warning(
            "%s: its last transaction was left open in %s; %s it",
            self._name,
            ", ".join(f"{topic}/{number}" for topic, number in partitions) or "the group's offsets",
            "commits" if is_commit else "aborts",
            extra={
                "event": "open_transaction_ended",
                "transactional_id": self._name,
                "is_commit": is_commit,
            },
        )
        await self.open(partitions, may_repeat=True)
        await self.close(is_commit=is_commit)


def _next_epoch(producer: tuple[int, ...]) -> tuple[int, ...]:
    producer_id, epoch = producer
    return producer_id, epoch + 1
