"""Completes records: each gets its one outcome, which is published and acknowledged."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from consumer.engine.admission import Admission
from consumer.engine.bodies.moves import BodyMoves, ClaimCheckPolicy
from consumer.engine.calls.key_queues import KeyQueues
from consumer.engine.calls.work_queue import WorkQueue
from consumer.engine.counters import Counters
from consumer.engine.failures.isolation import Isolation
from consumer.engine.happenings import DEAD_LETTERED, REPLACED, Happenings
from consumer.engine.outcomes.messages import OutcomeMessages
from consumer.engine.outcomes.outbox import Outbox
from consumer.engine.outcomes.substitutes import Substitutes, code_of
from consumer.engine.record_state import RecordState, Step, next_state, states_after
from consumer.engine.replies.parked import Parked
from consumer.engine.work import WorkItem
from consumer.ports import Message, Rejection
from schemas.wire.results import ErrorCode

_CANCELLED_MESSAGE = "a control record cancelled the request before its answer was there"
_EXPIRED_MESSAGE = "the deadline in the header headrace-deadline passed before the answer was there"


# Needed for each record; a look-up on the class costs 0.1 µs more.
_BLOCKED, _QUEUED, _DECIDED = RecordState.BLOCKED, RecordState.QUEUED, RecordState.DECIDED
_AFTER_QUEUE, _AFTER_DECIDE = states_after(Step.QUEUE), states_after(Step.DECIDE)
_AFTER_ACKNOWLEDGE = states_after(Step.ACKNOWLEDGE)


class Completion:
    def __init__(  # noqa: PLR0913 - the parts that an outcome goes through
        self,
        *,
        messages: OutcomeMessages,
        admission: Admission,
        key_queues: KeyQueues,
        queue: WorkQueue,
        isolation: Isolation,
        outbox: Outbox,
        body_moves: BodyMoves,
        parked: Parked,
        claim_check: ClaimCheckPolicy | None,
        counters: Counters,
        happenings: Happenings,
    ) -> None:
        self._messages = messages
        self._happenings = happenings
        self._substitutes = Substitutes(messages)
        self._admission = admission
        self._key_queues = key_queues
        self._queue = queue
        self._isolation = isolation
        self._outbox = outbox
        self._body_moves = body_moves
        self.parked = parked
        self._claim_check = claim_check
        self._counters = counters

    def respond(self, item: WorkItem, status: int, body: bytes, now_s: float) -> None:
        """Answer it; a large response goes to the object store first."""
        if status >= 400:
            self._counters.refused_records += 1
        else:
            self._counters.answered_records += 1
        if self._claim_check is not None and self._claim_check.deposits(item, status, body):
            self._deposit(item, status, body)
            return
        messages = self._messages.response(item, item.custom_id or "", status, body, now_s)
        self.decide(item, messages, now_s)

    def cancel(self, item: WorkItem, now_s: float) -> None:
        self._counters.cancelled_records += 1
        self._end_with_error(item, ErrorCode.REQUEST_CANCELLED, _CANCELLED_MESSAGE, now_s)

    def expire(self, item: WorkItem, now_s: float) -> None:
        self._counters.expired_records += 1
        self._end_with_error(item, ErrorCode.REQUEST_EXPIRED, _EXPIRED_MESSAGE, now_s)

    def _end_with_error(self, item: WorkItem, code: ErrorCode, message: str, now_s: float) -> None:
        error = self._messages.error(item, item.custom_id or "", code, message, now_s)
        self.decide(item, [error], now_s)

    def dead_letter(
        self, item: WorkItem, code: ErrorCode, message: str, now_s: float, epoch_ms: int
    ) -> None:
        self._count_dead_letter(code)
        self._happenings.note(DEAD_LETTERED, code.value, item)
        messages = self._messages.dead_letter(item, code, message, now_s, epoch_ms)
        self.decide(item, messages, now_s)

    def decide(self, item: WorkItem, messages: Sequence[Message], now_s: float) -> None:
        """Publish its outcome, once no earlier record of its key queue is incomplete."""
        self._end_work(item)
        item.state = _AFTER_DECIDE[item.state]
        item.decided_at_s = now_s
        item.messages = messages
        result_bytes = 0
        for message in messages:  # a generator here costs a third of the whole method
            result_bytes += len(message.value or b"")
        self.grow(item, result_bytes)
        if item.state is not _DECIDED:
            return
        if item.reply_topic is None or not self._park(item, now_s):
            self._outbox.add(item)

    def make_ready(self, item: WorkItem) -> None:
        """Queue it for a call, with others unless it failed with earlier owners."""
        if item.state is _BLOCKED:
            return  # until ``_unblock_next``
        if item.failed_attempts:
            item.state = next_state(item.state, Step.RETRY)
            self._isolation.add([item])
        else:
            item.state = _AFTER_QUEUE[item.state]
            self._queue.add(item)

    def _unblock_next(self, complete: WorkItem) -> None:
        item = self._key_queues.leave(complete)
        if item is None:
            return
        is_fetched_first = self._body_moves.unblock(item)
        if item.state is _DECIDED:
            self._outbox.add(item)
        elif item.state is RecordState.ARRIVED and not is_fetched_first:
            self.make_ready(item)

    def _deposit(self, item: WorkItem, status: int, body: bytes) -> None:
        # Decided, so that neither a deadline nor a cancellation decides it again.
        self._end_work(item)
        item.state = next_state(item.state, Step.DEPOSIT)
        self.grow(item, len(body))
        self._body_moves.deposit(item, status, body)

    def _end_work(self, item: WorkItem) -> None:
        if item.state is _QUEUED:
            self._queue.discard(item)
        if item.fetched_line is not None:
            # The body can be fetched again by its reference.
            self.grow(item, -len(item.fetched_line))
            item.fetched_line = None
            self._body_moves.let_go(item)

    def grow(self, item: WorkItem, size_bytes: int) -> None:
        item.held_bytes += size_bytes
        self._admission.grow(size_bytes)

    def drop_blocked(self, items: Iterable[WorkItem]) -> None:
        for item in items:
            # A deposited record is dropped when its body has arrived.
            if item.state is not RecordState.BLOCKED_DEPOSITING:
                self.drop(item)
            self._body_moves.unblock(item)

    def drop(self, item: WorkItem) -> None:
        """Drop it without an outcome: it is the next owner's."""
        self._end_work(item)
        item.state = next_state(item.state, Step.DROP)
        self._let_go(item)

    def _let_go(self, item: WorkItem) -> None:
        self._admission.release(item.held_bytes)
        item.let_go()

    def take_publications(self, most_records: int, most_bytes: int) -> list[WorkItem]:
        taken: list[WorkItem] = []
        size_bytes = 0
        while (
            self._outbox.has_publishable and len(taken) < most_records and size_bytes < most_bytes
        ):
            item = self._outbox.take()
            if item.assignment.revoked:
                self.drop(item)
                continue
            size_bytes += item.held_bytes
            taken.append(item)
        return taken

    def acknowledged(self, items: Iterable[WorkItem]) -> None:
        for item in items:
            item.state = _AFTER_ACKNOWLEDGE[item.state]
            item.assignment.ledger.complete(item.record.offset)
            self._unblock_next(item)
            if item.reply_topic is not None and self.parked and _has_reply(item):
                self.release_parked(item.reply_topic)
            self._let_go(item)
            self._counters.completed_records += 1

    def rejected(
        self, item: WorkItem, rejections: Sequence[Rejection], now_s: float, epoch_ms: int
    ) -> bool:
        """Replace messages that the broker will never take; see ``Substitutes``.

        The item's other messages are acknowledged. What its reply topic may take later waits. False
        means that the topic takes no dead letter of any record.
        """
        if item.assignment.revoked:
            self.drop(item)
            return True
        final, passing = self._split(item, rejections, now_s)
        found = self._replace(item, final, now_s, epoch_ms)
        if found is None:
            return False
        item.messages = [each for _, substitutes in found for each in substitutes]
        if passing:
            item.messages = [*item.messages, *(each.message for each in passing)]
            self.parked.add(item, passing[0].reason, now_s)
        elif item.messages:
            self._outbox.add(item)
        else:
            self.acknowledged([item])
        return True

    def substitute(
        self, rejections: Iterable[Rejection], now_s: float, epoch_ms: int
    ) -> set[WorkItem] | None:
        """As ``rejected``, for unpublished outcomes; returns those that wait for their topic.

        The others stay where they are.
        """
        parked: set[WorkItem] = set()
        by_item: defaultdict[WorkItem, list[Rejection]] = defaultdict(list)
        for rejection in rejections:
            by_item[rejection.message.item].append(rejection)
        for item, of_item in by_item.items():
            final, passing = self._split(item, of_item, now_s)
            found = self._replace(item, final, now_s, epoch_ms)
            if found is None:
                return None
            messages: list[Message] = []
            for message in item.messages:
                substitutes = [each for refused, each in found if refused is message]
                messages += substitutes[0] if substitutes else [message]
            item.messages = messages
            if passing:
                self.parked.add(item, passing[0].reason, now_s)
                parked.add(item)
        return parked

    def advance_parked(self, now_s: float, epoch_ms: int) -> None:
        if not self.parked:
            return
        again, overdue = self.parked.take_due(now_s)
        self._release(again)
        for item in overdue:
            self._give_up_reply(item, now_s, epoch_ms)

    def release_parked(self, topic: str) -> None:
        """Publish what waits for a reply topic, as its answer is known."""
        self._release(self.parked.taken(topic))

    def _release(self, items: Iterable[WorkItem]) -> None:
        for item in items:
            self._outbox.add(item)

    def _park(self, item: WorkItem, now_s: float) -> bool:
        """Have an outcome wait if its reply topic takes nothing; return whether it does.

        Without room for it, it does not: the sink refuses it, and then it is given up.
        """
        if not self.parked or not _has_reply(item):
            return False
        topic = item.reply_topic or ""
        if self.parked.is_hopeless(topic, now_s):
            self.parked.give_up(item)
            return True
        if self.parked.holds(topic) and self.parked.refuses(item, now_s) is None:
            self.parked.add(item, None, now_s)
            return True
        return False

    def _give_up_reply(self, item: WorkItem, now_s: float, epoch_ms: int) -> None:
        reason = f"topic {item.reply_topic} takes nothing"
        refused = [each for each in item.messages if each.topic == item.reply_topic]
        self.substitute(
            [Rejection(each, reason, is_passing=True) for each in refused], now_s, epoch_ms
        )
        self._outbox.add(item)

    def _split(
        self, item: WorkItem, rejections: Sequence[Rejection], now_s: float
    ) -> tuple[list[Rejection], list[Rejection]]:
        """Return what is final, and what may wait."""
        final = [each for each in rejections if not each.is_passing]
        passing = [each for each in rejections if each.is_passing]
        why = self.parked.refuses(item, now_s) if passing else None
        if why is None:
            return final, passing
        given_up = [replace(each, reason=f"{each.reason}; {why}") for each in passing]
        return [*final, *given_up], []

    def _replace(
        self, item: WorkItem, rejections: Sequence[Rejection], now_s: float, epoch_ms: int
    ) -> list[tuple[Message, list[Message]]] | None:
        found = self._substitutes.take_place(item, rejections, now_s, epoch_ms)
        codes = {id(each.message): code_of(each) for each in rejections}
        for refused, messages in found or ():
            if messages and refused.topic != messages[0].topic == self._messages.dead_letters_topic:
                self._count_dead_letter(codes[id(refused)])
                self._happenings.note(DEAD_LETTERED, "result_refused", item)
            else:
                self._happenings.note(REPLACED, "refused", item)
        return found

    def _count_dead_letter(self, code: ErrorCode) -> None:
        self._counters.dead_letter_records += 1
        by_reason = self._counters.dead_letters_by_reason
        by_reason[code.value] = by_reason.get(code.value, 0) + 1


def _has_reply(item: WorkItem) -> bool:
    """Return whether a message is for its reply topic; a dead letter's result may be left out."""
    topic = item.reply_topic
    return topic is not None and any(message.topic == topic for message in item.messages)
