"""Records whose results go to a topic of their own: judged before any model works for them."""

from collections.abc import Collection, Iterable

from consumer.engine.bodies.moves import BodyMoves
from consumer.engine.outcomes.completion import Completion
from consumer.engine.record_state import RecordState, Step, next_state
from consumer.engine.replies.look_ups import LookUps, WaitingRecord
from consumer.engine.work import WorkItem
from schemas.wire.references import RequestBodyReference
from schemas.wire.results import ErrorCode


class Replies:
    def __init__(self, look_ups: LookUps, completion: Completion, body_moves: BodyMoves) -> None:
        self.look_ups = look_ups
        self._completion = completion
        self._body_moves = body_moves

    def may_go_on(
        self,
        item: WorkItem,
        url: str,
        reference: RequestBodyReference | None,
        now_s: float,
        epoch_ms: int,
    ) -> bool:
        """Return whether a record's reply topic exists; if not, it waits, or has its outcome.

        A blocked record goes on meanwhile: it has time until the earlier one of its key queue is
        complete.
        """
        topic = item.reply_topic or ""
        exists = self.look_ups.exists(topic, now_s)
        if exists is not None:
            if not exists:
                self.give_up_missing([item], now_s, epoch_ms)
            return exists
        if item.state is not RecordState.ARRIVED:
            self.look_ups.want(topic)
            return True
        item.state = next_state(item.state, Step.LOOK_UP)
        self.look_ups.wait(WaitingRecord(item, url, reference))
        return False

    def looked_up(
        self,
        topics: Collection[str],
        missing: Collection[str] | None,
        now_s: float,
        epoch_ms: int,
    ) -> None:
        """Take what a look-up found; ``missing`` is ``None`` if it failed.

        Then the records go on: publishing finds out.
        """
        for record in self.look_ups.ended(topics, missing, now_s):
            if record.item.reply_topic in (missing or ()):
                self.give_up_missing([record.item], now_s, epoch_ms)
            elif record.reference is not None:
                self._body_moves.fetch(record.item, record.url, record.reference)
            else:
                self._completion.make_ready(record.item)

    def give_up_missing(self, items: Iterable[WorkItem], now_s: float, epoch_ms: int) -> None:
        for item in items:
            message = (
                f"topic {item.reply_topic}, which the header headrace-reply-topic names, does not "
                "exist: create it, and replay the dead letter"
            )
            item.reply_topic = None
            self._completion.dead_letter(
                item, ErrorCode.REPLY_TOPIC_MISSING, message, now_s, epoch_ms
            )
