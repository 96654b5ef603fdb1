"""The load: request lines of many kinds, and which outcome each must have. Pure."""

import random
from dataclasses import dataclass, field
from enum import StrEnum

import orjson

URL = "/v1/embeddings"
MAX_REQUEST_BYTES = 20_000


class Expectation(StrEnum):
    """The terminal outcome that a record must have."""

    RESULT = "result"
    """One result, whatever it says."""
    DEAD_LETTER = "dead_letter"
    """One dead letter, and no result: there is no ``custom_id`` to answer."""
    BOTH = "both"
    """One dead letter and one result."""
    NONE = "none"
    """Skipped: neither."""


@dataclass(frozen=True, slots=True)
class NewRecord:
    key: bytes
    value: bytes | None


def line(custom_id: str, **body: object) -> bytes:
    """Return a request line whose body the chaos model understands."""
    return orjson.dumps({"custom_id": custom_id, "url": URL, "body": body})


def expectation(value: bytes | None) -> Expectation:
    """Return the outcome that a record with this value must have."""
    if value is None:
        return Expectation.NONE
    if len(value) > MAX_REQUEST_BYTES:
        return Expectation.BOTH
    try:
        request = orjson.loads(value)
    except orjson.JSONDecodeError:
        return Expectation.DEAD_LETTER
    if not isinstance(request, dict) or "custom_id" not in request:
        return Expectation.DEAD_LETTER
    body = request["body"]
    return Expectation.BOTH if "fail" in body or "poison" in body else Expectation.RESULT


@dataclass(slots=True)
class Workload:
    """Draws records from a seed; each has a name and a key of its own.

    Attributes:
        seed: Of the drawing.
        prefix: Distinguishes the names from those of another workload on the same topic.
    """

    seed: int
    prefix: str = "r"
    _drawn: int = 0
    _rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._rng = random.Random(f"{self.seed}/load")

    @property
    def drawn(self) -> int:
        """How many names have been drawn."""
        return self._drawn

    def uneven(self) -> NewRecord:
        """Return a record of the steady load: mostly quick, some slow, a share of real work."""
        draw = self._rng.random()
        if draw < 0.1:
            return self.make(embed=self._rng.randrange(1, 5))
        if draw < 0.11:
            return self.make(ms=1_000)
        return self.make(ms=round(20 * self._rng.lognormvariate(0, 0.5)))

    def make(self, **body: object) -> NewRecord:
        """Return a record with this body."""
        name = self.next_name()
        return NewRecord(name.encode(), line(name, **body))

    def tombstone(self) -> NewRecord:
        """Return a record without a value."""
        return NewRecord(self.next_name().encode(), None)

    def malformed(self) -> NewRecord:
        """Return a record that is not a request line."""
        value = self._rng.choice([b"{", b"\xff\xfe", b"[]", b'{"url":"/v1/embeddings"}', b"NaN"])
        return NewRecord(self.next_name().encode(), value)

    def oversized(self) -> NewRecord:
        """Return a record over the route's ``max_request_bytes``."""
        name = self.next_name()
        return NewRecord(name.encode(), line(name, padding="x" * MAX_REQUEST_BYTES))

    def next_name(self) -> str:
        """Return a name that no other record has."""
        self._drawn += 1
        return f"{self.prefix}{self._drawn}"
