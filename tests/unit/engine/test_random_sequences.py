"""Any sequence of events: every step of a record is legal, and in the end nothing is held."""

import random

import orjson
import pytest

from consumer.engine.bodies.moves import ClaimCheckPolicy, Deposit
from consumer.engine.bodies.store import BodyRefused
from consumer.engine.calls.key_queues import Ordering
from consumer.engine.engine import Engine
from consumer.engine.record_state import RecordState
from consumer.engine.work import Call, WorkItem
from consumer.ports import OffsetAndMetadata, Record, Rejection
from handoff.chunk import STATUS_UNAVAILABLE, Chunk, Outcomes
from schemas.wire.control import ControlRecord
from schemas.wire.headers import DEADLINE, REPLY_TOPIC
from schemas.wire.references import BodyReference
from tests.engines import P0, P1, PREFIX, URL, end_fetch, line, make_engine
from tests.engines import record as make_record
from tests.simulation import EPOCH_MS

WHY = ["is_missing", "is_passing", "is_passing", "is_too_large"]
POLICY = ClaimCheckPolicy(
    over_bytes=1_000, message_limit_bytes=1 << 30, max_object_bytes=1 << 20, give_up_after_s=20.0
)
STORED = BodyReference(url="s3://b/r", size_bytes=1, sha256="0" * 64)


class Events:
    """An engine, and everything that can happen to it, at random."""

    def __init__(self, ordering: Ordering, seed: int) -> None:
        self.randomly = random.Random(seed)
        self.engine = make_engine(
            ordering=ordering,
            max_bytes=100_000,
            chunk_records=32,
            max_attempts=2,
            claim_check=POLICY,
            attempt_timeout_s=15.0,
            reply_topics=("reply-*",),
        )
        self.engine.assign({P0: OffsetAndMetadata(0, ""), P1: OffsetAndMetadata(0, "")})
        self.calls: list[tuple[Call, Chunk]] = []
        self.next_offset = dict.fromkeys((P0, P1), 0)
        self.now_s = 0.0

    @property
    def now(self) -> tuple[float, int]:
        return self.now_s, EPOCH_MS + int(self.now_s * 1000)

    def happen(self) -> None:
        self.now_s += self.randomly.uniform(0.0, 2.0)
        self.engine.advance(*self.now)
        events = [self.read, self.call, self.call, self.answer, self.answer, self.publish]
        events += [self.end, self.move, self.move, self.look, self.transact, self.look_up]
        self.randomly.choice([*events * 4, self.cancel, self.rebalance])()

    def read(self) -> None:
        for partition in self.engine.allowance().partitions:
            offset = self.next_offset[partition]
            records = [
                self._record(offset + n)._replace(partition=partition)
                for n in range(self.randomly.randrange(6))
            ]
            self.next_offset[partition] += len(records)
            rewinds = self.engine.deliver(records, *self.now)
            self.next_offset.update(rewinds)

    def _record(self, offset: int) -> Record:
        value = line(f"r{offset % 20}", body={"input": "x" * self.randomly.randrange(500)})
        kind = self.randomly.randrange(8)
        if kind == 0:
            value = b"no json"
        elif kind == 1:
            value = line("a", url="/v1/other" + "x" * self.randomly.choice([0, 2_000]))
        elif kind < 4:
            size = self.randomly.choice([{}, {"size_bytes": 3_000}])
            reference = {"url": f"{PREFIX}/{offset}"} | size
            value = orjson.dumps({"custom_id": "far", "url": URL, "body_ref": reference})
        headers = []
        if self.randomly.random() < 0.3:
            due_ms = self.now[1] + self.randomly.randrange(-100, 20_000)
            headers.append((DEADLINE, b"%d" % due_ms))
        if self.randomly.random() < 0.4:
            topic = self.randomly.choice([b"reply-1", b"reply-2", b"reply-3", b"other"])
            headers.append((REPLY_TOPIC, topic))
        made = make_record(offset, value, key=b"%d" % self.randomly.randrange(3), headers=headers)
        return made._replace(timestamp_ms=self.now[1])

    def call(self) -> None:
        if (call := self.engine.next_call(*self.now)) is not None:
            self.calls.append(call)

    def answer(self) -> None:
        if not self.calls:
            return
        call, chunk = self.randomly.choice(self.calls)
        outcomes = self._outcomes(chunk)
        for other, of_other in self.calls:
            if other is not call and self.randomly.random() < 0.2:
                outcomes.others[other.number] = self._outcomes(of_other)
        self.engine.take_outcomes(call, outcomes, *self.now)

    def _outcomes(self, chunk: Chunk) -> Outcomes:
        outcomes = Outcomes("replica-1", 64)
        for index in range(len(chunk.lines)):
            if self.randomly.random() < 0.5:
                body = b'{"a":"%s"}' % (b"x" * self.randomly.choice([10, 2_000]))
                status = self.randomly.choice([200, 200, 200, 400, 408, 500, 501, 502, 503])
                outcomes.add(index, status, body)
        return outcomes

    def let_go(self) -> None:
        cancelled, closed = self.engine.calls.let_go(self.now_s)
        for call, _ in [*self.calls]:
            if call in closed:
                self._end(call, "closed")
            elif call.number in cancelled:
                indexes = cancelled[call.number]
                assert call.in_flight.replica == "replica-1"
                assert set(indexes) <= set(call.unwanted())
                # Now and then no cancellation reaches the replica.
                if self.randomly.random() < 0.7:
                    let_go = Outcomes("replica-1", 64)
                    for index in indexes:
                        let_go.add(index, STATUS_UNAVAILABLE, b"")
                    self.engine.take_outcomes(call, let_go, *self.now)
                    assert not set(indexes) & set(call.unwanted())

    def end(self) -> None:
        if self.calls:
            call, _ = self.randomly.choice(self.calls)
            self._end(call, "lost")

    def look(self) -> None:
        self.engine.calls.give_up_overdue(*self.now)
        self.let_go()

    def _end(self, call: Call, reason: str) -> None:
        self.calls = [each for each in self.calls if each[0] is not call]
        self.engine.end_call(call, reason, *self.now)

    def move(self) -> None:
        while (move := self.engine.bodies.moves.next_move(self.now_s)) is not None:
            if self.randomly.random() < 0.3:
                self.engine.bodies.failed(move, "away", *self.now)
            elif isinstance(move, Deposit):
                self.engine.bodies.deposited(move, STORED, self.now_s)
            elif self.randomly.random() < 0.2:
                refused = BodyRefused(404, "body_not_found", "x" * 2_000)
                self.engine.bodies.refused(move, refused, self.now_s)
            else:
                end_fetch(self.engine, move, orjson.dumps({"input": "x" * 2_988}), self.now_s)

    def publish(self) -> None:
        for item in self.engine.take_publications(20, 1 << 30):
            if self.randomly.random() < 0.1:
                self.engine.withdrawn([item])
            elif rejections := self._rejections(item):
                assert self.engine.rejected(item, rejections, *self.now)
            else:
                self.engine.acknowledged([item])

    def _rejections(self, item: WorkItem) -> list[Rejection]:
        return [
            Rejection(each, "why", **{self.randomly.choice(WHY): True})
            for each in item.messages
            if each.topic.startswith("reply-") and self.randomly.random() < 0.6
        ]

    def look_up(self) -> None:
        if topics := self.engine.look_ups.take_due():
            missing = {each for each in topics if self.randomly.random() < 0.3}
            failed = self.randomly.random() < 0.2
            self.engine.backlog.looked_up(topics, None if failed else missing, *self.now)

    def transact(self) -> None:
        for partition in self.engine.transactions.partitions_due(even_without_outcomes=True):
            transaction = self.engine.transactions.begin(partition, 10, 1 << 30)
            if transaction is None:
                continue
            rejections = [why for item in transaction.items for why in self._rejections(item)]
            if rejections:
                assert self.engine.transaction_refused(transaction, rejections, *self.now)
            elif self.randomly.random() < 0.8:
                self.engine.transaction_committed(transaction)
            else:
                self.engine.transaction_fenced(transaction)
                self.rebalance()

    def cancel(self) -> None:
        targets: list[dict[str, object]] = [{"custom_id": "r7"}, {"whole_route": True}]
        target = self.randomly.choice(targets)
        control = ControlRecord.model_validate(
            {"action": "cancel", "route": "embeddings", **target}
        )
        self.engine.backlog.cancel([(control, self.now[1])], *self.now)

    def rebalance(self) -> None:
        self.engine.suspend()
        self.publish()
        self.engine.hold_publications()
        committed = {P1: OffsetAndMetadata(self.next_offset[P1], "")}
        if self.randomly.random() < 0.5:
            committed[P0] = OffsetAndMetadata(self.next_offset[P0], "")
        change = self.engine.assign(committed)
        self.next_offset.update(change.seeks)


@pytest.mark.parametrize("ordering", ["none", "key", "partition"])
@pytest.mark.parametrize("seed", range(20))
def test_every_step_is_legal_and_in_the_end_nothing_is_held(ordering: Ordering, seed: int) -> None:
    events = Events(ordering, seed)
    for _ in range(300):
        events.happen()
        waiting = events.engine.backlog.waiting()
        assert len(waiting) == len(set(waiting))
        assert RecordState.IN_FLIGHT not in {item.state for item in waiting}
    events.engine.suspend()
    events.engine.assign({})
    for call, _ in events.calls:
        events.engine.end_call(call, "lost", *events.now)
    events.move()
    while events.engine.bodies.moves.has_deposits:
        events.now_s += 1.0
        events.engine.advance(*events.now)
        events.move()
    engine: Engine = events.engine
    assert engine.held_records == engine.held_bytes == 0
    assert engine.queued_records == engine.in_flight_records == 0
