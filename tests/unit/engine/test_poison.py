"""A record that kills its replica, among healthy ones: who pays, and how much. Simulated time."""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest

from consumer.engine.engine import Engine
from consumer.engine.work import Call
from handoff.chunk import STATUS_FAILED, STATUS_OK, Chunk, Outcomes
from tests.engines import P0, line, make_engine, next_call, record
from tests.simulation import EPOCH_MS

RESTART_S = 8.0
DEATH_AFTER_S = 0.01


@dataclass
class Replica:
    """Takes calls until a poisonous one kills it, and every call that it has taken with it."""

    name: str
    up_again_s: float = 0.0
    calls: dict[Call, Chunk] = field(default_factory=dict)


class ModelOfReplicas:
    """Replicas that die; calls wait in the router while none is up, as Serve's do."""

    def __init__(
        self, engine: Engine, replicas: int, poison: set[bytes], *, call_s: float = 0.05
    ) -> None:
        self.engine = engine
        self.replicas = [Replica(f"replica-{number}") for number in range(replicas)]
        self.poison = poison
        self.call_s = call_s
        self.now_s = 1.0
        self.calls = 0
        self.deaths = 0
        self.letters: list[bytes] = []
        self.attempts: list[int] = []
        self.results = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._router: list[tuple[Call, Chunk]] = []
        self._random = random.Random(3)
        self._added = 0

    def run(self, most_events: int = 200_000) -> None:
        for _ in range(most_events):
            self._step()
            due_s = self.engine.next_due_in_s(self.now_s, EPOCH_MS)
            times = [self._events[0][0]] if self._events else []
            times += [] if due_s is None else [self.now_s + due_s]
            if not times:
                return
            self.now_s = max(self.now_s, min(times))
            while self._events and self._events[0][0] <= self.now_s:
                heapq.heappop(self._events)[2]()
        raise AssertionError("it never ends")

    def _step(self) -> None:
        self.engine.advance(self.now_s, EPOCH_MS)
        while (call := self.engine.next_call(self.now_s, EPOCH_MS)) is not None:
            self.calls += 1
            self._router.append(call)
        self._route()
        for publication in self.engine.take_publications(10_000, 1 << 40):
            messages = publication.messages
            self.engine.acknowledged([publication])
            for message in messages:
                if message.topic == "dead-letters":
                    self.letters.append(message.value or b"")
                    self.attempts.append(int(dict(message.headers)["headrace-attempts"] or b""))
                else:
                    self.results += 1

    def _route(self) -> None:
        up = [each for each in self.replicas if each.up_again_s <= self.now_s]
        while self._router and up:
            call, chunk = self._router.pop(0)
            replica = self._random.choice(up)
            replica.calls[call] = chunk
            if self.poison.intersection(chunk.lines):
                self._at(DEATH_AFTER_S, partial(self._die, replica, call))
            else:
                self._at(self.call_s, partial(self._end, replica, call))

    def _die(self, replica: Replica, call: Call) -> None:
        if call not in replica.calls:
            return
        self.deaths += 1
        replica.up_again_s = self.now_s + RESTART_S
        self._at(RESTART_S, lambda: None)
        lost, replica.calls = replica.calls, {}
        for each in lost:
            self.engine.end_call(each, "the replica died", self.now_s, EPOCH_MS)

    def _end(self, replica: Replica, call: Call) -> None:
        chunk = replica.calls.pop(call, None)
        if chunk is None:
            return
        outcomes = Outcomes(replica.name, 256)
        for index in range(len(chunk.lines)):
            outcomes.add(index, STATUS_OK, b"{}")
        self.engine.take_outcomes(call, outcomes, self.now_s, EPOCH_MS)
        self.engine.end_call(call, "over", self.now_s, EPOCH_MS)

    def _at(self, in_s: float, event: Callable[[], None]) -> None:
        self._added += 1
        heapq.heappush(self._events, (self.now_s + in_s, self._added, event))


def poisoned(offsets: set[int]) -> set[bytes]:
    return {line(f"0-{offset}") for offset in offsets}


@pytest.mark.parametrize("replicas", [1, 2, 4])
@pytest.mark.parametrize("max_attempts", [1, 2, 5])
def test_one_poison_record_among_256_costs_no_healthy_one_its_answer(
    replicas: int, max_attempts: int
) -> None:
    engine = make_engine(max_attempts=max_attempts, chunk_records=256)
    engine.assign({P0: None})
    engine.deliver([record(offset) for offset in range(257)], 0.0, EPOCH_MS)
    model = ModelOfReplicas(engine, replicas, poisoned({77}))
    model.run()
    assert model.letters == [line("0-77")]
    assert model.results == 257
    assert model.deaths <= 6
    assert model.calls <= 50


@pytest.mark.parametrize("seed", range(5))
def test_several_poison_records_in_a_busy_backlog_are_the_only_dead_letters(
    seed: int,
) -> None:
    randomly = random.Random(seed)
    engine = make_engine(max_attempts=5, chunk_records=64, max_records=20_000, max_bytes=1 << 30)
    engine.assign({P0: None})
    bad = set(randomly.sample(range(3_000), 5))
    engine.deliver([record(offset) for offset in range(3_000)], 0.0, EPOCH_MS)
    model = ModelOfReplicas(engine, 3, poisoned(bad))
    model.run()
    assert sorted(model.letters) == sorted(poisoned(bad))
    assert model.results == 3_000
    assert max(model.attempts) <= 25


def test_the_last_attempt_has_no_other_call_beside_it() -> None:
    engine = make_engine(max_attempts=3, chunk_records=8)
    engine.assign({P0: None})
    engine.deliver([record(0)], 0.0, EPOCH_MS)
    now_s = 1.0
    for _ in range(2):
        call, _ = next_call(engine, now_s, EPOCH_MS)
        held = engine._assigned.get(P0)
        assert held is not None
        assert held.ledger.next_offset is not None
        engine.deliver([record(held.ledger.next_offset)], now_s, EPOCH_MS)
        other, chunk = next_call(engine, now_s, EPOCH_MS)  # never alone so far
        engine.end_call(call, "the replica died", now_s, EPOCH_MS)
        outcomes = Outcomes("replica-1", 256)
        outcomes.add(0, STATUS_OK, b"{}")
        engine.take_outcomes(other, outcomes, now_s, EPOCH_MS)
        engine.end_call(other, "over", now_s, EPOCH_MS)
        now_s += 20.0
        engine.advance(now_s, EPOCH_MS)
    engine.deliver([record(50)], now_s, EPOCH_MS)
    last, chunk = next_call(engine, now_s, EPOCH_MS)
    assert chunk.lines == [line("0-0")]
    assert engine.next_call(now_s, EPOCH_MS) is None
    engine.end_call(last, "the replica died", now_s, EPOCH_MS)
    assert engine.counters.dead_letter_records == 1
    assert engine.next_call(now_s, EPOCH_MS) is not None


def test_a_model_that_fails_every_record_burns_nobodys_attempts() -> None:
    engine = make_engine(max_attempts=3, chunk_records=64)
    engine.assign({P0: None})
    engine.deliver([record(offset) for offset in range(500)], 0.0, EPOCH_MS)

    def answer_all(status: int, until_s: float, now_s: float) -> tuple[float, int]:
        calls = 0
        while now_s < until_s:
            engine.advance(now_s, EPOCH_MS)
            called = engine.next_call(now_s, EPOCH_MS)
            if called is None:
                due_s = engine.next_due_in_s(now_s, EPOCH_MS)
                if due_s is None:
                    break
                now_s += max(due_s, 0.001)
                continue
            calls += 1
            call, chunk = called
            outcomes = Outcomes("replica-1", 64)
            for index in range(len(chunk.lines)):
                outcomes.add(index, status, b"{}")
            engine.take_outcomes(call, outcomes, now_s, EPOCH_MS)
            engine.end_call(call, "over", now_s, EPOCH_MS)
        return now_s, calls

    now_s, calls = answer_all(STATUS_FAILED, 200.0, 1.0)
    assert calls < 60  # probes, not a storm
    assert engine.counters.dead_letter_records == 0
    answer_all(STATUS_OK, 400.0, now_s)
    assert engine.counters.answered_records == 500


@pytest.mark.parametrize("records", [4, 40])
def test_a_model_that_goes_down_is_not_tried_with_who_failed_before_it_did(
    records: int,
) -> None:
    engine = make_engine(max_attempts=4, chunk_records=1)
    engine.assign({P0: None})
    engine.deliver([record(offset) for offset in range(records + 1)], 0.0, EPOCH_MS)
    tried: list[bytes] = []

    def call(now_s: float, status: int) -> None:
        engine.advance(now_s, EPOCH_MS)
        called = engine.next_call(now_s, EPOCH_MS)
        if called is None:
            return
        tried.extend(called[1].lines)
        outcomes = Outcomes("replica-1", 1)
        outcomes.add(0, status, b"{}")
        engine.take_outcomes(called[0], outcomes, now_s, EPOCH_MS)
        engine.end_call(called[0], "over", now_s, EPOCH_MS)

    call(1.0, STATUS_FAILED)
    call(1.0, STATUS_OK)
    unlucky, _answered = tried
    # From here on the model is down, and the unlucky one has been failing while others were not.
    for turn in range(2_000):
        call(2.0 + 0.1 * turn, STATUS_FAILED)

    assert len(tried) > 20
    assert tried.count(unlucky) <= 3, "it is not tried any more once the model counts as down"
    assert engine.counters.dead_letter_records == 0


def test_nobody_but_who_failed_before_is_left_to_try_a_model_with() -> None:
    engine = make_engine(max_attempts=3, chunk_records=1)
    engine.assign({P0: None})
    engine.deliver([record(0), record(1)], 0.0, EPOCH_MS)
    model = ModelOfReplicas(engine, 1, poisoned({0}))
    model.run()

    assert model.letters == [line("0-0")]
    assert (model.results, model.deaths) == (2, 3)
