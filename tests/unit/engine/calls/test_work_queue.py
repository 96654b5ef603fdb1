"""Which of the waiting records go next."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.engine.calls.work_queue import PATIENCE_S, WorkQueue
from consumer.engine.offsets.ledger import PartitionLedger
from consumer.engine.work import PartitionAssignment, WorkItem
from tests.engines import P0, record

ASSIGNMENT = PartitionAssignment(P0, PartitionLedger(None, 4096), committed=None)


def item(number: int, work: float = 0.0, received_at_s: float = 0.0) -> WorkItem:
    made = WorkItem(ASSIGNMENT, record(number), f"{number}", None, received_at_s, 100)
    made.work = work
    return made


def ids(items: list[WorkItem]) -> list[str]:
    return [each.custom_id or "" for each in items]


def test_first_come_first_served_whatever_the_work() -> None:
    queue = WorkQueue()
    for number, work in enumerate([1, 9, 5]):
        queue.add(item(number, work))
    assert ids(queue.take(2, 0.0)) == ["0", "1"]
    assert len(queue) == 1


def test_the_longest_go_first_and_equals_in_order() -> None:
    queue = WorkQueue(longest_first=True)
    for number, work in enumerate([1, 9, 5, 9]):
        queue.add(item(number, work))
    assert ids(queue.take(3, 0.0)) == ["1", "3", "2"]
    assert ids(queue.take(3, 0.0)) == ["0"]
    assert queue.take(3, 0.0) == []


def test_short_ones_do_not_wait_for_ever() -> None:
    queue = WorkQueue(longest_first=True)
    queue.add(item(0, work=1, received_at_s=0.0))
    queue.add(item(1, work=9, received_at_s=1.0))
    queue.add(item(2, work=9, received_at_s=PATIENCE_S))
    assert ids(queue.take(2, PATIENCE_S)) == ["0", "1"]


@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=60),
    st.integers(1, 7),
    st.booleans(),
)
def test_every_waiting_record_comes_out_once(
    entries: list[tuple[int, bool]], most: int, longest_first: bool
) -> None:
    queue = WorkQueue(longest_first=longest_first)
    items = [item(number, work) for number, (work, _) in enumerate(entries)]
    for each in items:
        queue.add(each)
    wanted = []
    for each, (_, is_forgotten) in zip(items, entries, strict=True):
        if is_forgotten:
            queue.discard(each)
        else:
            wanted.append(each)
    assert queue.waiting() == wanted
    taken: list[WorkItem] = []
    while chunk := queue.take(most, 0.0):
        taken += chunk
    assert sorted(ids(taken)) == sorted(ids(wanted))
    assert len(queue) == 0
    if longest_first:
        assert [each.work for each in taken] == sorted((each.work for each in taken), reverse=True)


def test_a_long_backlog_leaves_nothing_behind_and_stays_ordered() -> None:
    queue = WorkQueue(longest_first=True)
    for number in range(1_000):
        queue.add(item(number, work=number % 100))
    for number in range(1_000, 20_000):
        first, second = queue.take(2, PATIENCE_S + number)
        assert first.received_at_s <= second.received_at_s or first.work <= second.work
        queue.add(item(number, work=number % 100, received_at_s=float(number)))
        queue.add(item(100_000 + number, work=0, received_at_s=float(number)))
    assert len(queue._by_work) < 3 * len(queue) + 100


@pytest.mark.parametrize("longest_first", [False, True])
def test_what_is_forgotten_is_neither_taken_nor_counted_nor_kept(longest_first: bool) -> None:
    queue = WorkQueue(longest_first=longest_first)
    items = [item(number) for number in range(1_000)]
    for each in items:
        queue.add(each)
    for each in items[1:]:
        queue.discard(each)
        queue.discard(each)
    assert len(queue) == len(queue._by_arrival) == 1
    assert len(queue._by_work) < 100
    assert queue.take(10, 0.0) == [items[0]]
    assert len(queue) == 0
