"""Drives hostile records through reading, engine, a model and outcomes, and checks each of them."""

import random
import resource
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import orjson

from consumer.engine.bodies.moves import ClaimCheckPolicy
from consumer.engine.engine import Engine
from consumer.engine.work import Call, WorkItem
from consumer.ports import Message, Record
from handoff.chunk import STATUS_FAILED, STATUS_OK, STATUS_UNRECOVERABLE, Chunk, Outcomes
from schemas.bodies.base import BodyRefusedError, parse_body
from schemas.bodies.embeddings import EmbeddingsBody
from schemas.wire.results import encode_refusal_body
from tests.engines import P0, make_engine
from tests.fuzz.batches import read_batches
from tests.fuzz.records import HostileRecords
from tests.simulation import EPOCH_MS

MAX_RESULT_BYTES = 10_000
MAX_HELD_BYTES = 1_000_000
BATCH_RECORDS = 50
_TURNS = 100_000
POLICY = ClaimCheckPolicy(
    over_bytes=1 << 30, message_limit_bytes=1 << 30, max_object_bytes=1 << 20, give_up_after_s=1.0
)


class ViolationError(AssertionError):
    """A promise was broken; the message has the record."""


@dataclass(slots=True)
class FuzzReport:
    """What became of the records, and how much memory the process took at most beyond the start."""

    records: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    grown_kib: int = 0
    most_held_bytes: int = 0


Answer = Callable[[Chunk], Outcomes]


def answer(chunk: Chunk, rnd: random.Random) -> Outcomes:
    """Answer as a text model's replica does: each line is read and its body checked."""
    outcomes = Outcomes("replica", 1024)
    for index, line in enumerate(chunk.lines):
        body = orjson.loads(line)["body"]
        try:
            parsed = parse_body(EmbeddingsBody, body)
        except BodyRefusedError as error:
            text = encode_refusal_body(str(error), error.code, error.param)
            outcomes.add(index, error.status, text)
            continue
        chance = rnd.random()
        if chance < 0.02:
            outcomes.add(index, rnd.choice((STATUS_FAILED, STATUS_UNRECOVERABLE)), b'{"error":{}}')
            continue
        count = len(parsed.input) if isinstance(parsed.input, list) else 1
        row = b'{"object":"embedding","embedding":[0.5,0.25]}'
        text = b'{"object":"list","data":[' + b",".join([row] * count) + b"]}"
        outcomes.add(index, STATUS_OK, text, tokens=count)
    return outcomes


class Fuzz:
    """One run; ``finished`` is called with how many records have ended."""

    def __init__(
        self,
        seed: int,
        *,
        engine: Engine | None = None,
        finished: Callable[[int], None] = lambda _records: None,
    ) -> None:
        self._seed = seed
        self._random = random.Random(seed)
        self._finished = finished
        self.engine = engine or make_engine(
            max_records=1000,
            max_bytes=MAX_HELD_BYTES,
            max_attempts=2,
            max_result_bytes=MAX_RESULT_BYTES,
            claim_check=POLICY,
            reply_topics=("reply-*",),
        )
        self.report = FuzzReport()
        self._now_s = 0.0
        self._ended = bytearray()
        self._tombstones = bytearray()
        self._records: dict[int, Record] = {}

    @property
    def _now(self) -> tuple[float, int]:
        return self._now_s, EPOCH_MS + int(self._now_s * 1000)

    def run(self, records: int) -> FuzzReport:
        """Return when each record has its one outcome; raises ``ViolationError``."""
        self._ended = bytearray(records)
        self._tombstones = bytearray(records)
        self.engine.assign({P0: None})
        before_kib = _peak_kib()
        batches = read_batches(
            HostileRecords(self._seed), P0, records=records, batch_records=BATCH_RECORDS,
            seed=self._seed,
        )  # fmt: skip
        for number, batch in enumerate(batches):
            self._deliver(batch)
            if number % 4 == 0:
                self._work()
            if number % 200 == 0:
                self._finished(self.report.records)
            if number == 20:
                # What is loaded and cached once is there by now.
                before_kib = _peak_kib()
        for _turn in range(_TURNS):
            self._work()
            if not self.engine.held_records:
                break
        self.report.grown_kib = _peak_kib() - before_kib
        self._check_end(records)
        return self.report

    def _deliver(self, batch: list[Record]) -> None:
        left = batch
        for _turn in range(_TURNS):
            readable = self.engine.allowance()
            if readable.partitions:
                for each in left:
                    if each.value is None and each.problem is None:
                        self._tombstones[each.offset] = 1
                    else:
                        self._records[each.offset] = each
                again = self.engine.deliver(left, *self._now)
                held = self.engine.held_bytes
                self.report.most_held_bytes = max(self.report.most_held_bytes, held)
                if P0 not in again:
                    return
                left = [each for each in left if each.offset >= again[P0]]
                if not left:
                    return
            self._work()
        raise ViolationError("admission stays closed")

    def _work(self) -> None:
        self._now_s += 0.05
        self.engine.advance(*self._now)
        while (made := self.engine.next_call(*self._now)) is not None:
            self._answer(*made)
        while (move := self.engine.bodies.moves.next_move(self._now_s)) is not None:
            self.engine.bodies.failed(move, "no store", *self._now)
        if topics := self.engine.look_ups.take_due():
            missing = {each for each in topics if each != "reply-1"}
            self.engine.backlog.looked_up(topics, missing, *self._now)
        items = self.engine.take_publications(10_000, 1 << 30)
        for item in items:
            self._check(item)
        self.engine.acknowledged(items)
        points = self.engine.offsets_and_metadata()
        self.engine.committed(points)

    def _answer(self, call: Call, chunk: Chunk) -> None:
        self.engine.take_outcomes(call, answer(chunk, self._random), *self._now)
        self.engine.end_call(call, "over", *self._now)

    def _check(self, item: WorkItem) -> None:
        offset = item.record.offset
        record = self._records.pop(offset, None)
        if self._ended[offset] or record is None:
            raise ViolationError(f"offset {offset} has two outcomes")
        self._ended[offset] = 1
        self.report.records += 1
        if not item.messages:
            raise ViolationError(f"offset {offset}: an outcome without a message: {record!r}")
        for message in item.messages:
            self.report.outcomes[self._checked(message, record)] += 1

    def _checked(self, message: Message, record: Record) -> str:
        """Return what a message is; raises ``ViolationError`` if a reader could not read it."""
        _encodable(message.headers)
        if message.topic == "dead-letters":
            named = dict(message.headers)
            code = named.get("headrace-error-code")
            if not code or not named.get("headrace-source"):
                raise ViolationError(f"a dead letter without its reason: {record!r}")
            return f"dead letter: {code.decode()}"
        try:
            line = orjson.loads(message.value or b"")
            response, error = line["response"], line["error"]
            custom_id = line["custom_id"]
        except (orjson.JSONDecodeError, KeyError, TypeError) as problem:
            raise ViolationError(f"a result that is none ({problem!r}): {record!r}") from None
        if not isinstance(custom_id, str) or (response is None) == (error is None):
            raise ViolationError(f"a result that says nothing: {line!r} of {record!r}")
        if len(message.value or b"") > MAX_RESULT_BYTES:
            raise ViolationError(f"a result of {len(message.value or b''):,} bytes: {record!r}")
        return f"result: {error['code'] if error else response['status_code']}"

    def _check_end(self, records: int) -> None:
        counters = self.engine.counters
        tombstones = sum(self._tombstones)
        for offset in range(records):
            if self._ended[offset] == self._tombstones[offset]:
                record = self._records.get(offset)
                raise ViolationError(f"offset {offset} has no outcome: {record!r}")
        self.report.records += tombstones
        self.report.outcomes["tombstone"] = tombstones
        self._finished(self.report.records)
        if counters.skipped_records != tombstones:
            raise ViolationError(f"{tombstones} tombstones, counted {counters.skipped_records}")
        held = self.engine.held_records, self.engine.held_bytes, self.engine.in_flight_records
        if any(held):
            raise ViolationError(f"something is still held: {held}")
        if counters.received_records != records:
            raise ViolationError(f"received {counters.received_records} of {records}")


def _encodable(found: Iterable[tuple[str, bytes | None]]) -> None:
    for name, value in found:
        with suppress(UnicodeEncodeError):
            name.encode()
            if value is None or isinstance(value, bytes):
                continue
        raise ViolationError(f"a header that cannot be published: {name!r}")


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
