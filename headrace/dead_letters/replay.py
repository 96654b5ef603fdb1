"""What a dead letter becomes when it is replayed, and how fast that may go; pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from consumer.ports import Message
from headrace.dead_letters.inbox import Found
from headrace.dead_letters.letter import DeadLetter
from headrace.requests.reading import TopicRecord
from schemas.wire import headers
from schemas.wire.deadletters import replayed_headers
from schemas.wire.headers import read_deadline_ms

MAX_PROBLEMS = 20
MAX_BATCH_RECORDS = 500
PARTS_OF_A_SECOND = 4


class Outgoing(NamedTuple):
    """A request to publish again.

    Attributes:
        message: As it will stand on the topic.
        partition: Where; ``None`` leaves it to the key.
    """

    message: Message
    partition: int | None


class NotReplayableError(Exception):
    """A dead letter cannot be replayed; says why."""


@dataclass(frozen=True, slots=True)
class Targets:
    """Where replayed requests go.

    Attributes:
        by_route: Each route's requests topic.
        topic: One topic for all, in their place.
    """

    by_route: Mapping[str, str]
    topic: str | None = None

    def of(self, found: Found) -> str:
        """Return the topic for a dead letter.

        Raises:
            NotReplayableError: It is none, or its route is not known.
        """
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
    """How far a replay has come.

    Attributes:
        replayed_records: Published, and remembered as handled.
        left_records: Could not be replayed, and stay as they are.
        problems: Why, for the first few.
    """

    replayed_records: int = 0
    left_records: int = 0
    problems: list[str] = field(default_factory=list)

    def leave(self, record: TopicRecord, reason: str) -> None:
        """Count one that cannot be replayed."""
        self.left_records += 1
        if len(self.problems) < MAX_PROBLEMS:
            place = f"{record.topic}/{record.partition}/{record.offset}"
            self.problems.append(f"{place}: {reason}")
        elif len(self.problems) == MAX_PROBLEMS:
            self.problems.append("… and more")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {
            "replayed_records": self.replayed_records,
            "left_records": self.left_records,
            "problems": self.problems,
        }


def needs_source(letter: DeadLetter) -> bool:
    """Tell whether the request is to be read where it stood: its letter has no value."""
    return letter.record.value is None


def has_expired(letter: DeadLetter, now_ms: int) -> bool:
    """Tell whether the request's deadline has passed: replayed with it, it would only expire."""
    deadline_ms = read_deadline_ms(letter.request_headers)
    return deadline_ms is not None and deadline_ms <= now_ms


def compose(
    letter: DeadLetter, topic: str, original: TopicRecord | None, *, keeps_deadline: bool
) -> Outgoing:
    """Return the request to publish again: key, value and headers as they first came.

    Args:
        letter: The dead letter.
        topic: Where to.
        original: Where ``needs_source``: the request as it stands at its source, if it does.
        keeps_deadline: Whether a deadline goes along.

    Raises:
        NotReplayableError: The request's value is gone.
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
    # Whichever partitioner the producer used, later requests of its key are there.
    partition = letter.source.partition if topic == letter.source.topic else None
    replayed = replayed_headers(request_headers, letter.failure, keeps_deadline=keeps_deadline)
    return Outgoing(Message(topic, key, value, replayed), partition)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast to replay.

    Attributes:
        records_per_s: The most on average; ``None`` for as fast as it goes.
    """

    records_per_s: float | None = None

    @property
    def batch_records(self) -> int:
        """How many to publish in one transaction."""
        if self.records_per_s is None:
            return MAX_BATCH_RECORDS
        return max(1, min(MAX_BATCH_RECORDS, int(self.records_per_s / PARTS_OF_A_SECOND)))

    def delay_s(self, sent_records: int, elapsed_s: float) -> float:
        """Return how long to wait after ``sent_records`` in ``elapsed_s``."""
        if self.records_per_s is None:
            return 0.0
        return max(0.0, sent_records / self.records_per_s - elapsed_s)
