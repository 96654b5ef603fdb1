"""The outcome of each body transfer, and its effect on the record."""

import codecs

import msgspec
import orjson

from consumer.engine.bodies.moves import BodyMoves, Deposit, Fetch, Move
from consumer.engine.bodies.store import STATUS_BAD_REQUEST, BodyRefused
from consumer.engine.outcomes.completion import Completion
from consumer.engine.outcomes.messages import OutcomeMessages, printable
from schemas.wire.references import BodyReference
from schemas.wire.results import ErrorCode, encode_refusal_body

_AN_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_PIECE_BYTES = 1 << 20


class Bodies:
    def __init__(self, moves: BodyMoves, completion: Completion, messages: OutcomeMessages) -> None:
        self.moves = moves
        self._completion = completion
        self._messages = messages

    def measured(self, fetch: Fetch, size_bytes: int, now_s: float) -> bool:
        """Note the size of a body to fetch; return whether to read it now, or the move is over."""
        if fetch.is_wanted:
            return self.moves.measured(fetch, size_bytes, now_s)
        self.moves.ended(fetch)
        return False

    def deposited(self, deposit: Deposit, reference: BodyReference, now_s: float) -> None:
        if self._ends(deposit):
            item = deposit.item
            self._completion.grow(item, -len(deposit.body))
            messages = self._messages.stored(
                item, item.custom_id or "", deposit.status_code, reference, now_s
            )
            self._completion.decide(item, messages, now_s)

    def fetched(self, fetch: Fetch, body: bytes, now_s: float) -> None:
        if not self._ends(fetch):
            return
        item = fetch.item
        line = splice_body(item.custom_id or "", fetch.url, body)
        if line is None:
            message = "body_ref.url: the object is not one JSON object"
            refusal = encode_refusal_body(message, "reference_refused", "body_ref")
            self._completion.respond(item, STATUS_BAD_REQUEST, refusal, now_s)
            return
        item.fetched_line = line
        self._completion.grow(item, len(line))
        self.moves.holds(item)
        self._completion.make_ready(item)

    def refused(self, move: Move, refused: BodyRefused, now_s: float) -> None:
        if self._ends(move):
            body = encode_refusal_body(refused.message, refused.code, "body_ref")
            self._completion.respond(move.item, refused.status_code, body, now_s)

    def failed(self, move: Move, reason: str, now_s: float, epoch_ms: int) -> None:
        if self._ends(move) and not self.moves.try_again(move, reason, now_s):
            self._give_up(move, now_s, epoch_ms)

    def give_up_overdue(self, now_s: float, epoch_ms: int) -> None:
        """Give up moves that failed and had no further turn in their time."""
        for move in self.moves.take_overdue(now_s):
            if move.is_wanted:
                self._give_up(move, now_s, epoch_ms)
            else:
                self._forget(move)

    def _ends(self, move: Move) -> bool:
        self.moves.ended(move)
        if move.is_wanted:
            return True
        self._forget(move)
        return False

    def _forget(self, move: Move) -> None:
        # A request's record was already dropped with everything that waited.
        if isinstance(move, Deposit):
            self._completion.drop(move.item)

    def _give_up(self, move: Move, now_s: float, epoch_ms: int) -> None:
        if isinstance(move, Deposit):
            self._completion.grow(move.item, -len(move.body))
        self._completion.dead_letter(
            move.item, ErrorCode.STORE_FAILED, printable(move.failure), now_s, epoch_ms
        )


def splice_body(custom_id: str, url: str, body: bytes) -> bytes | None:
    """Return the request line with a fetched body in it; ``None`` if it is no JSON object.

    The body is checked without being parsed into objects: these would take several times its size,
    and block the event loop for seconds.
    """
    try:
        _AN_OBJECT.decode(body)
        _check_utf8(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    head = orjson.dumps({"custom_id": custom_id, "method": "POST", "url": url})
    return b"".join((head[:-1], b',"body":', body, b"}"))


def _check_utf8(body: bytes) -> None:
    """Raise ``UnicodeDecodeError`` for a body that is not UTF-8; the JSON check does not notice."""
    if body.isascii():
        return
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(body), _PIECE_BYTES):
        decoder.decode(body[start : start + _PIECE_BYTES])
    decoder.decode(b"", final=True)
