"""A transaction's messages as record batches, and sending them to their leaders."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from aiokafka import errors
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from consumer.kafka.client.cluster_client import ClusterClient
from consumer.kafka.sink.produce import produce_request, produced_codes
from consumer.kafka.sink.producer_slot import MAX_BACKOFF_S
from consumer.kafka.transactions.errors import NONE, NextStep, next_step
from consumer.ports import Message, SourceError, TopicPartition

log = logging.getLogger(__name__)

MOST_PARTITIONS = 8192
_FIRST_BACKOFF_S = 0.002
_MAGIC = 2
UNCOMPRESSED = 0

Explain = Callable[[errors.KafkaError], SourceError]


class Batch(NamedTuple):
    first: int
    records: int
    encoded: bytes


class EpochGoneError(Exception):
    """The id's epoch has grown: by another owner, or when the coordinator aborted a transaction."""


class AttemptFailedError(Exception):
    """The transaction has to be aborted and begun again."""


class BatchRefusedError(AttemptFailedError):
    """A message of a batch is refused; ``code`` is one of ``refusals.MESSAGE_REFUSED``."""

    def __init__(self, partition: TopicPartition, batch: Batch, code: int) -> None:
        super().__init__(f"{partition}: {errors.for_code(code).__name__} ({code})")
        self.partition = partition
        self.batch = batch
        self.code = code


class PartitionsStandError(AttemptFailedError):
    """Partitions of reply topics keep the transaction from its end.

    ``codes`` has their last error codes; 0 if they lack a leader, or it does not answer.
    """

    def __init__(self, codes: Mapping[TopicPartition, int]) -> None:
        named = (f"{topic}/{number} ({code})" for (topic, number), code in codes.items())
        super().__init__(f"reply topics: {', '.join(named)}")
        self.codes = codes


class ReplyFailedError(AttemptFailedError):
    """A reply topic's partition failed with ``code``, which may be its fault or the epoch's."""

    def __init__(self, partition: TopicPartition, code: int) -> None:
        super().__init__(f"{partition}: {errors.for_code(code).__name__} ({code})")
        self.partition = partition
        self.code = code


class BatchEncoder:
    """Encodes messages under a producer's epoch, with sequence numbers without a gap.

    ``batch_bytes`` returns the most bytes of a topic's batches, as they are before ``codec``,
    Kafka's number of a compression, packs them.
    """

    def __init__(self, batch_bytes: Callable[[str], int], codec: int = UNCOMPRESSED) -> None:
        self._batch_bytes = batch_bytes
        self._codec = codec
        self._producer_id = -1
        self._epoch = -1
        self._sequences: dict[TopicPartition, int] = {}

    @property
    def is_full(self) -> bool:
        """Whether another epoch should begin, which forgets the sequence numbers.

        Each partition that was ever written to has one, and reply topics come and go.
        """
        return len(self._sequences) > MOST_PARTITIONS

    def begin_epoch(self, producer_id: int, epoch: int) -> None:
        if (producer_id, epoch) == (self._producer_id, self._epoch):
            return
        self._producer_id = producer_id
        self._epoch = epoch
        self._sequences.clear()

    def encode(
        self, partition: TopicPartition, messages: Sequence[Message], most_records: int | None
    ) -> list[Batch]:
        """Encode a partition's messages in order, as many in a batch as fit or ``most_records``."""
        batches: list[Batch] = []
        most = most_records or len(messages)
        position = 0
        while position < len(messages):
            sequence = self._sequences.get(partition, 0)
            builder = DefaultRecordBatchBuilder(
                _MAGIC,
                self._codec,
                is_transactional=1,
                producer_id=self._producer_id,
                producer_epoch=self._epoch,
                base_sequence=sequence,
                batch_size=self._batch_bytes(partition.topic),
            )
            records = 0
            for message in messages[position : position + most]:
                appended = builder.append(
                    records, None, message.key, message.value, headers=message.headers
                )
                if appended is None:
                    break
                records += 1
            # After 2^31 - 1 comes 0.
            self._sequences[partition] = (sequence + records) & 0x7FFFFFFF
            batches.append(Batch(position, records, bytes(builder.build())))
            position += records
        return batches


class BatchSending:
    """Sends batches until each is acknowledged; brokers drop repeated ones by their sequence."""

    def __init__(
        self, client: ClusterClient, transactional_id: str, timeout_ms: int, explain: Explain
    ) -> None:
        self._client = client
        self._name = transactional_id
        self._timeout_ms = timeout_ms
        self._explain = explain
        self._codes: dict[TopicPartition, int] = {}

    async def send(
        self,
        batches: Mapping[TopicPartition, Sequence[Batch]],
        replies: AbstractSet[TopicPartition] = frozenset(),
        patience_s: float = 0.0,
    ) -> None:
        """Send one batch for each partition at a time, which keeps the messages' order.

        ``PartitionsStandError`` if partitions among ``replies`` take nothing for ``patience_s``.
        """
        now_s = asyncio.get_running_loop().time
        give_up_at_s = now_s() + patience_s
        for turn in range(max(map(len, batches.values()), default=0)):
            waiting = {each: held[turn] for each, held in batches.items() if turn < len(held)}
            backoff_s = _FIRST_BACKOFF_S
            while waiting:
                waiting = await self._send_once(waiting, replies)
                standing = [each for each in waiting if each in replies]
                if standing and now_s() >= give_up_at_s:
                    raise PartitionsStandError(
                        {each: self._codes.get(each, 0) for each in standing}
                    )
                if waiting:
                    await asyncio.sleep(backoff_s)
                    backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)
                    await self._client.learn_leaders()

    async def _send_once(
        self, batches: Mapping[TopicPartition, Batch], replies: AbstractSet[TopicPartition]
    ) -> dict[TopicPartition, Batch]:
        self._codes.clear()
        again: dict[TopicPartition, Batch] = {}

        async def send(broker: int, partitions: list[TopicPartition]) -> None:
            encoded = ((each, batches[each].encoded) for each in partitions)
            request = produce_request(self._name, self._timeout_ms, encoded)
            try:
                response = await self._client.ask_broker(broker, request)
            except errors.KafkaError as error:
                log.warning(
                    "%s: produces again after %r",
                    self._name,
                    error,
                    extra={
                        "event": "publishing_retried",
                        "transactional_id": self._name,
                        "error_class": type(error).__name__,
                    },
                )
                again.update((each, batches[each]) for each in partitions)
                return
            for partition, code in produced_codes(response).items():
                self._codes[partition] = code
                if code and partition in replies:
                    _check_reply(partition, code)
                if self._must_be_sent_again(partition, batches[partition], code):
                    again[partition] = batches[partition]

        sending: list[Coroutine[Any, Any, None]] = []
        for broker, partitions in self._client.leaders(batches).items():
            if broker is None:
                again.update((each, batches[each]) for each in partitions)
            else:
                sending.append(send(broker, partitions))
        await all_of(*sending)
        return again

    def _must_be_sent_again(self, partition: TopicPartition, batch: Batch, code: int) -> bool:
        if code == NONE:
            return False
        name = errors.for_code(code).__name__
        match next_step(code):
            case NextStep.FENCED:
                raise EpochGoneError(name)
            case NextStep.MOVED | NextStep.SOON:
                return True
            case NextStep.REJECT:
                raise BatchRefusedError(partition, batch, code)
            case NextStep.REFUSED:
                raise self._explain(errors.for_code(code)(str(partition)))
            case NextStep.BEGIN_AGAIN:
                raise AttemptFailedError(f"producing to {partition}: {name} ({code})")


def _check_reply(partition: TopicPartition, code: int) -> None:
    match next_step(code):
        case NextStep.REFUSED:
            raise PartitionsStandError({partition: code})
        case NextStep.BEGIN_AGAIN:
            raise ReplyFailedError(partition, code)


async def all_of(*coroutines: Coroutine[Any, Any, None]) -> None:
    if not coroutines:
        return
    tasks = [asyncio.ensure_future(each) for each in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    failures = [failure for task in tasks if not task.cancelled() and (failure := task.exception())]
    # The other failures may follow from a lost epoch.
    for failure in sorted(failures, key=lambda each: not isinstance(each, EpochGoneError)):
        raise failure
