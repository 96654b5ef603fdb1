"""Large bodies: what becomes of a record when a fetch or a deposit of its body has ended."""

from consumer.engine.bodies.claims import (
    STATUS_BAD_REQUEST,
    BodyRefused,
    Deposit,
    Deposited,
    Fetch,
    Fetched,
    Measured,
    Move,
    MoveEnd,
    MoveFailed,
    splice_body,
)
from consumer.engine.bodies.moves import BodyMoves
from consumer.engine.calls.work_queue import WorkQueue
from consumer.engine.outcomes.completion import Settlement
from consumer.engine.outcomes.messages import OutcomeMessages, printable
from consumer.engine.work import WorkItem
from schemas.wire.results import ErrorCode, encode_refusal_body


class LargeBodies:
    """Decides what follows the moves of bodies from and to the object store.

    Args:
        moves: The moves.
        queue: Where requests go whose body has been fetched.
        settlement: Where results go whose body has been deposited.
        messages: Composes those results.
    """

    def __init__(
        self,
        moves: BodyMoves,
        queue: WorkQueue,
        settlement: Settlement,
        messages: OutcomeMessages,
    ) -> None:
        self._moves = moves
        self._queue = queue
        self._settlement = settlement
        self._messages = messages

    def end_move(self, move: Move, end: MoveEnd, now_s: float, epoch_ms: int) -> None:
        """Take note how a move ended."""
        self._moves.ended(move)
        item = move.item
        if not move.is_wanted:
            self._forget(move)
            return
        match end:
            case Deposited(reference) if isinstance(move, Deposit):
                self._settlement.grow(item, -len(move.body))
                self._settlement.settle(
                    item,
                    self._messages.stored(
                        item, item.custom_id or "", move.status_code, reference, now_s
                    ),
                )
            case Measured(size_bytes) if isinstance(move, Fetch):
                move.size_bytes = size_bytes
                self._moves.add(move)
            case Fetched(body) if isinstance(move, Fetch):
                self._take_body(item, move.url, body, now_s)
            case BodyRefused(status, code, message):
                self._settlement.respond(
                    item, status, encode_refusal_body(message, code, "body_ref"), now_s
                )
            case MoveFailed(reason) if not self._moves.try_again(move, reason, now_s):
                self._give_up(move, now_s, epoch_ms)

    def give_up_overdue(self, now_s: float, epoch_ms: int) -> None:
        """Give up what the store failed on, and has had no turn since, when its time is over."""
        for move in self._moves.take_overdue(now_s):
            if move.is_wanted:
                self._give_up(move, now_s, epoch_ms)
            else:
                self._forget(move)

    def _forget(self, move: Move) -> None:
        # A request's record was dropped already, with all that waited.
        if isinstance(move, Deposit):
            self._settlement.drop(move.item)

    def _give_up(self, move: Move, now_s: float, epoch_ms: int) -> None:
        if isinstance(move, Deposit):
            self._settlement.grow(move.item, -len(move.body))
        self._settlement.bury(
            move.item, ErrorCode.STORE_FAILED, printable(move.failure), now_s, epoch_ms
        )

    def _take_body(self, item: WorkItem, url: str, body: bytes, now_s: float) -> None:
        line = splice_body(item.custom_id or "", url, body)
        if line is None:
            message = "body_ref.url: the object is not one JSON object"
            refusal = encode_refusal_body(message, "reference_refused", "body_ref")
            self._settlement.respond(item, STATUS_BAD_REQUEST, refusal, now_s)
            return
        item.fetched_line = line
        self._settlement.grow(item, len(line))
        self._moves.holds(item)
        self._queue.make_ready(item)
