"""Requests to the coordinators of a transactional id and of its group, with retries."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from collections.abc import Set as AbstractSet
from typing import Any

from aiokafka import errors
from aiokafka.protocol.api import Request

from consumer.kafka.client.cluster_client import ClusterClient
from consumer.kafka.sink.producer_slot import FIRST_BACKOFF_S, MAX_BACKOFF_S, REFUSALS
from consumer.kafka.transactions.batches import (
    AttemptFailedError,
    EpochGoneError,
    Explain,
    PartitionsStandError,
)
from consumer.kafka.transactions.errors import (
    COORDINATOR_GONE,
    INVALID_PRODUCER_ID_MAPPING,
    INVALID_TXN_STATE,
    NONE,
    UNKNOWN_TOPIC_OR_PARTITION,
    NextStep,
    next_step,
)
from consumer.ports import TopicPartition

log = logging.getLogger(__name__)

CodesOf = Callable[[Any], set[int]]
"""Returns a response's error codes, and may keep the rest."""

_SOON_S = 0.002
_MOST_SOON_S = 0.2
"""A marker takes milliseconds, unless its partition has no leader."""
_UNKNOWN_TOPIC_PATIENCE = 12
"""How often in a row a topic may be unknown, with growing pauses: about 40 s."""
_UNKNOWN_REPLY_LOOKS = 5
"""The same of a reply topic: about 1.5 s, as the transaction's other results wait meanwhile."""


class CoordinatedRequests:
    """Asks the coordinators of a transactional id and of its group.

    Every method raises ``EpochGoneError`` if the id's epoch has grown, ``AttemptFailedError`` if
    the transaction has to begin again, and ``SourceError`` if the broker refuses us.
    """

    def __init__(self, client: ClusterClient, name: str, group: str, explain: Explain) -> None:
        self._client = client
        self._name = name
        self._group = group
        self._explain = explain

    async def ask_transactions(
        self,
        request: Request[Any],
        codes_of: CodesOf,
        *,
        may_repeat: bool = True,
        first: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        """Ask the transactional id's coordinator; ``codes_of`` reads the response.

        Unless ``may_repeat``, a lost connection or coordinator ends the attempt. ``first`` is
        awaited each time before the request is sent.
        """

        async def send() -> Any:
            if first is not None:
                await first()
            return await self._client.ask_transactions(self._name, request)

        await self._ask(
            send,
            codes_of,
            self._name,
            may_repeat=may_repeat,
        )

    async def ask_group(self, request: Request[Any], codes_of: CodesOf) -> None:
        await self._ask(
            lambda: self._client.ask_group(self._group, request),
            codes_of,
            self._group,
            may_repeat=True,
        )

    async def _ask(
        self,
        send: Callable[[], Coroutine[Any, Any, Any]],
        codes_of: CodesOf,
        coordinated: str,
        *,
        may_repeat: bool,
    ) -> None:
        backoff_s = FIRST_BACKOFF_S
        soon_s = _SOON_S
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
                unknown_topics = 0
                if not may_repeat:
                    raise AttemptFailedError(repr(error)) from error
                log.info(
                    "%s: asks again after %r",
                    self._name,
                    error,
                    extra={
                        "event": "transaction_retried",
                        "transactional_id": self._name,
                        "error_class": type(error).__name__,
                    },
                )
            else:
                if not codes:
                    return
                unknown_topics = unknown_topics + 1 if UNKNOWN_TOPIC_OR_PARTITION in codes else 0
                if unknown_topics == _UNKNOWN_TOPIC_PATIENCE:
                    raise self._explain(errors.UnknownTopicOrPartitionError())
                if self._is_soon(codes):
                    await asyncio.sleep(soon_s)
                    soon_s = min(2 * soon_s, _MOST_SOON_S)
                    continue
                self._client.forget_coordinators(coordinated)
                if not may_repeat and codes & COORDINATOR_GONE:
                    raise AttemptFailedError(_describe(codes))
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)

    def _is_soon(self, codes: set[int]) -> bool:
        steps = {next_step(code): code for code in sorted(codes)}
        if NextStep.FENCED in steps:
            raise EpochGoneError(_describe(codes))
        if NextStep.REFUSED in steps:
            error = errors.for_code(steps[NextStep.REFUSED])(self._name)
            raise self._explain(error) from error
        if codes & {INVALID_TXN_STATE, INVALID_PRODUCER_ID_MAPPING} or steps.keys() & {
            NextStep.BEGIN_AGAIN,
            NextStep.REJECT,
        }:
            raise AttemptFailedError(_describe(codes))
        return NextStep.MOVED not in steps


def single_code(response: Any) -> set[int]:
    return {response.error_code}


def codes_by_partition(response: Any) -> set[int]:
    return {code for _topic, results in response.errors for _partition, code in results}


class RefusedReplies:
    """Reads a response's error codes; ``PartitionsStandError`` for those of reply topics.

    A broker may not know a topic yet that was made a moment ago, so that this is asked again.
    """

    def __init__(self, replies: AbstractSet[TopicPartition]) -> None:
        self._replies = replies
        self._unknown_looks = 0

    def __call__(self, response: Any) -> set[int]:
        codes = {
            TopicPartition(topic, number): code
            for topic, results in response.errors
            for number, code in results
        }
        failed = {k: codes[k] for k in codes.keys() & self._replies if codes[k] != NONE}
        refused = {k: code for k, code in failed.items() if next_step(code) is NextStep.REFUSED}
        unknown = {k: code for k, code in failed.items() if code == UNKNOWN_TOPIC_OR_PARTITION}
        self._unknown_looks += bool(unknown)
        if refused or self._unknown_looks >= _UNKNOWN_REPLY_LOOKS:
            raise PartitionsStandError({**unknown, **refused})
        return set(codes.values())


def _describe(codes: set[int]) -> str:
    return ", ".join(f"{errors.for_code(code).__name__} ({code})" for code in sorted(codes))
