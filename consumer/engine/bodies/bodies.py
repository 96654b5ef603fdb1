"""Bodies in the object store: what becomes of a record when a move of its body has ended."""

import codecs

import msgspec
import orjson

from consumer.engine.bodies.moves import (
    BodyMoves,
    Deposit,
    Deposited,
    Fetch,
    Fetched,
    Move,
    MoveEnd,
    MoveFailed,
)
from consumer.engine.bodies.store import STATUS_BAD_REQUEST, BodyRefused
from consumer.engine.outcomes.completion import Settlement
from consumer.engine.outcomes.messages import OutcomeMessages, printable
from consumer.engine.work import WorkItem
from schemas.wire.results import ErrorCode, encode_refusal_body

_AN_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_PIECE_BYTES = 1 << 20


class Bodies:
    """Decides what follows the moves of bodies to and from the object store."""

    def __init__(self, moves: BodyMoves, settlement: Settlement, messages: OutcomeMessages) -> None:
        self.moves = moves
        self._settlement = settlement
        self._messages = messages

    def measured(self, fetch: Fetch, size_bytes: int, now_s: float) -> bool:
        """Note the size of a body that is being fetched; return whether to read it now.

        If not, the move is over.
        """
        if fetch.is_wanted:
            return self.moves.measured(fetch, size_bytes, now_s)
        self.moves.ended(fetch)
        return False

    def end_move(self, move: Move, end: MoveEnd, now_s: float, epoch_ms: int) -> None:
        """End a move of ``moves``, as it went."""
        self.moves.ended(move)
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
            case Fetched(body) if isinstance(move, Fetch):
                self._take_body(item, move.url, body, now_s)
            case BodyRefused(status, code, message):
                self._settlement.respond(
                    item, status, encode_refusal_body(message, code, "body_ref"), now_s
                )
            case MoveFailed(reason) if not self.moves.try_again(move, reason, now_s):
                self._give_up(move, now_s, epoch_ms)

    def give_up_overdue(self, now_s: float, epoch_ms: int) -> None:
        """Give up what the store failed on, and has had no turn since, when its time is over."""
        for move in self.moves.take_overdue(now_s):
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
        self.moves.holds(item)
        self._settlement.make_ready(item)


def splice_body(custom_id: str, url: str, body: bytes) -> bytes | None:
    """Return the request line with a fetched body in it; ``None`` where that is no JSON object.

    The body is checked and no objects are made of it: they would take several times its size, and
    seconds of the event loop.
    """
    try:
        _AN_OBJECT.decode(body)
        _check_utf8(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    head = orjson.dumps({"custom_id": custom_id, "method": "POST", "url": url})
    return b"".join((head[:-1], b',"body":', body, b"}"))


def _check_utf8(body: bytes) -> None:
    """Raise ``UnicodeDecodeError`` where a body is not UTF-8, which its check as JSON passes."""
    if body.isascii():
        return
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(body), _PIECE_BYTES):
        decoder.decode(body[start : start + _PIECE_BYTES])
    decoder.decode(b"", final=True)
