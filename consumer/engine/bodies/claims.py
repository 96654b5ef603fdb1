"""Claim check: bodies too large for a topic, on their way to the object store and from it.

Which bodies go there, what moves and how that may end. ``consumer.engine.bodies.moves`` says when.
"""

import codecs
from dataclasses import dataclass
from typing import Protocol

import msgspec
import orjson

from consumer.engine.work import WorkItem
from schemas.wire.references import BodyReference, RequestBodyReference
from schemas.wire.results import encode_response_line, result_id

MAX_MOVES = 8
"""Bodies on their way at once: enough to fill a network, few enough to hold them all in memory."""
STATUS_BAD_REQUEST = 400
_MAX_ENVELOPE_BYTES = 8192
"""More than a result line has around its body: ids and custom_ids are of limited length."""
_OWN_BYTES = 1024
"""More than Headrace's own headers and Kafka's framing of a record take."""
_HEADER_BYTES = 10


@dataclass(slots=True)
class ClaimCheckPolicy:
    """A route's ``claim_check`` settings, in the core's terms.

    Attributes:
        over_bytes: Result lines above this go to the store.
        message_limit_bytes: So do results that would be above this with key and headers: what the
            results topic and the client take.
        max_object_bytes: The most bytes of one stored body.
        give_up_after_s: How long a store may fail on one body.
    """

    over_bytes: int
    message_limit_bytes: int
    max_object_bytes: int
    give_up_after_s: float

    def takes(self, item: WorkItem, status_code: int, body: bytes) -> bool:
        """Say whether a response's body goes to the store."""
        limit_bytes = min(self.over_bytes, self.message_limit_bytes)
        record = item.record
        beside_bytes = _OWN_BYTES + len(record.key or b"")
        for name, value in record.headers:
            beside_bytes += len(name.encode()) + len(value or b"") + _HEADER_BYTES
        # The line's exact length costs quoting its parts: for the few that come close.
        if len(body) + beside_bytes + _MAX_ENVELOPE_BYTES <= limit_bytes:
            return False
        if len(body) > self.max_object_bytes:
            return False
        line_id = result_id(*record.partition, record.offset)
        envelope = encode_response_line(line_id, item.custom_id or "", status_code, b"")
        line_bytes = len(envelope) + len(body)
        return line_bytes > self.over_bytes or line_bytes + beside_bytes > self.message_limit_bytes


@dataclass(eq=False, slots=True)
class Deposit:
    """A response body on its way to the store.

    Attributes:
        item: The record that it answers.
        status_code: The response's.
        body: UTF-8 JSON.
        failed_at_s: Monotonic seconds when the store failed on it first.
        attempts: How often the store failed on it.
        failure: Why it failed last.
    """

    item: WorkItem
    status_code: int
    body: bytes
    failed_at_s: float | None = None
    attempts: int = 0
    failure: str = ""

    @property
    def name(self) -> str:
        """What its object is called, save for the checksum: the same for every redelivery."""
        return result_id(*self.item.record.partition, self.item.record.offset)

    @property
    def is_wanted(self) -> bool:
        """Whether its result may still be published from here."""
        return not self.item.assignment.revoked


@dataclass(eq=False, slots=True)
class Fetch:
    """A request body on its way from the store.

    Attributes:
        item: The record that refers to it.
        url: The endpoint of the request.
        reference: Where it lies.
        size_bytes: Its size, as told by the reference or by the store; ``None`` until known.
        failed_at_s: Monotonic seconds when the store failed on it first, and later by as long as it
            waited for room since.
        attempts: How often the store failed on it.
        failure: Why it failed last.
        number: Its place in the line: first come, first served.
        no_room_since_s: Monotonic seconds when its turn came and there was no room for it.
    """

    item: WorkItem
    url: str
    reference: RequestBodyReference
    size_bytes: int | None
    failed_at_s: float | None = None
    attempts: int = 0
    failure: str = ""
    number: int = 0
    no_room_since_s: float | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether the record is still to be computed."""
        return self.item.is_wanted()


Move = Deposit | Fetch


@dataclass(frozen=True, slots=True)
class Deposited:
    """A deposit lies in the store, safely."""

    reference: BodyReference


@dataclass(frozen=True, slots=True)
class Measured:
    """The store told the size of a body that is to be fetched."""

    size_bytes: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """A body was fetched, and is what its reference says."""

    body: bytes


@dataclass(frozen=True, slots=True)
class BodyRefused:
    """The reference leads nowhere, or to what it does not say; asking again would not help."""

    status_code: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class MoveFailed:
    """The store failed: no fault of the record."""

    reason: str


MoveEnd = Deposited | Measured | Fetched | BodyRefused | MoveFailed


class BodyRefusedError(Exception):
    """A store's answer to a reference that cannot be followed.

    Args:
        refused: What to tell the asker.
    """

    def __init__(self, refused: BodyRefused) -> None:
        super().__init__(refused.message)
        self.refused = refused


class StoreError(Exception):
    """The object store failed, or does not answer; trying again may help."""


class BodyStore(Protocol):
    """An object store, as the consumer needs it."""

    async def write(self, name: str, body: bytes) -> BodyReference:
        """Store a body; when this returns it is there to stay.

        Writing the same body under the same name again changes nothing.

        Raises:
            StoreError: The store failed.
        """
        ...

    async def size_bytes(self, url: str) -> int:
        """Return an object's size, which is one that may be read.

        Raises:
            BodyRefusedError: The url may not be followed, or leads to nothing that may be read.
            StoreError: The store failed.
        """
        ...

    async def read(self, reference: RequestBodyReference) -> bytes:
        """Return what a reference leads to, if it is of the size and checksum that it says.

        Raises:
            BodyRefusedError: It may not be followed, or leads to nothing or to something else.
            StoreError: The store failed.
        """
        ...

    def close(self) -> None:
        """Let go of what the store holds here."""
        ...


_AN_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_PIECE_BYTES = 1 << 20


def splice_body(custom_id: str, url: str, body: bytes) -> bytes | None:
    """Return the request line with a fetched body in it; ``None`` where that is no JSON object.

    The body is looked through and no objects are made of it: they would take several times its
    size, and seconds of everybody's time.
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
