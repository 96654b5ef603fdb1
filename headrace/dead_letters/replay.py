"""What a dead letter becomes when it is replayed, and how fast. Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from consumer.ports import Message
from headrace.dead_letters.inbox import Found
from headrace.dead_letters.letter import DeadLetter
from headrace.errors import FirstProblems
from headrace.records.reading import TopicRecord
from schemas.wire import headers
from schemas.wire.deadletters import replayed_headers
from schemas.wire.headers import read_deadline_ms

MAX_BATCH_RECORDS = 500
PARTS_OF_A_SECOND = 4


class Outgoing(NamedTuple):
    """A request to publish again; without a partition, its key decides where."""

    message: Message
    partition: int | None


class NotReplayableError(Exception):
    """A dead letter cannot be replayed; the message says why."""


@dataclass(frozen=True, slots=True)
class Targets:
    """Where replayed requests go: to each route's requests topic, or all to one ``topic``."""

    by_route: Mapping[str, str]
    topic: str | None = None

    def of(self, found: Found) -> str:
        if found.letter is None:
            raise NotReplayableError("it is no dead letter of Headrace: its headers are missing")
        target = self.topic or self.by_route.get(found.route)
        if target is None:
            raise NotReplayableError(
                f"the settings have no route '{found.route}'; name a topic with --to"
            )
        return target


@dataclass(slots=True)
class ReplayReport:
    """The progress of a replay, with the first reasons of records that cannot be replayed."""

    replayed_records: int = 0
    left_records: int = 0
    problems: FirstProblems = field(default_factory=FirstProblems)

    def leave(self, record: TopicRecord, reason: str) -> None:
        self.left_records += 1
        self.problems.note(f"{record.place}: {reason}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def needs_source(letter: DeadLetter) -> bool:
    """Whether the letter has no value, so that it must be read from the request's place."""
    return letter.record.value is None


def has_expired(letter: DeadLetter, now_ms: int) -> bool:
    """Whether the request's deadline has passed: replayed with it, it would only expire."""
    deadline_ms = read_deadline_ms(letter.request_headers)
    return deadline_ms is not None and deadline_ms <= now_ms


def compose(
    letter: DeadLetter, topic: str, original: TopicRecord | None, *, keeps_deadline: bool
) -> Outgoing:
    """Return the request to publish again, with its first key, value and headers.

    If the letter has no value, ``original`` is the record at its source, if there is one. Raises
    ``NotReplayableError`` if the value is gone.
    """
    request_headers, key, value = letter.request_headers, letter.record.key, letter.record.value
    if value is None:
        if original is None or original.value is None:
            raise NotReplayableError(
                f"its value was too large to be kept, and is no longer at {letter.source}"
            )
        sha256 = letter.omitted_value_sha256
        if sha256 is not None and hashlib.sha256(original.value).hexdigest() != sha256:
            raise NotReplayableError(
                f"its value was too large to be kept, and what stands at {letter.source} is "
                f"another one ({headers.OMITTED_VALUE_SHA256} differs)"
            )
        # The letter may have lost key and headers too.
        request_headers, key, value = list(original.headers), original.key, original.value
    # Later requests of its key are there, whichever partitioner the producer used.
    partition = letter.source.partition if topic == letter.source.topic else None
    replayed = replayed_headers(request_headers, letter.failure, keeps_deadline=keeps_deadline)
    return Outgoing(Message(topic, key, value, replayed), partition)


@dataclass(frozen=True, slots=True)
class Pace:
    records_per_s: float | None = None

    @property
    def batch_records(self) -> int:
        if self.records_per_s is None:
            return MAX_BATCH_RECORDS
        return max(1, min(MAX_BATCH_RECORDS, int(self.records_per_s / PARTS_OF_A_SECOND)))

    def delay_s(self, sent_records: int, elapsed_s: float) -> float:
        if self.records_per_s is None:
            return 0.0
        return max(0.0, sent_records / self.records_per_s - elapsed_s)
