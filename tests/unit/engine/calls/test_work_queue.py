"""Which of the waiting records go next."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.engine.calls.job_queue import PATIENCE_S, JobQueue
from consumer.engine.calls.work_queue import WorkQueue
from consumer.engine.offsets.ledger import PartitionLedger
from consumer.engine.work import PartitionAssignment, WorkItem
from schemas.wire.headers import JOB, JOB_WEIGHT
from tests.engines import P0, line, record

ASSIGNMENT = PartitionAssignment(P0, PartitionLedger(None, 4096), committed=None)


def item(
    number: int,
    work: float = 0.0,
    received_at_s: float = 0.0,
    *,
    job: str | None = None,
    weight: object = None,
    value: bytes | None = None,
) -> WorkItem:
    headers = [] if job is None else [(JOB, job.encode())]
    if weight is not None:
        headers.append((JOB_WEIGHT, f"{weight}".encode()))
    read = record(number, value, headers=headers)
    made = WorkItem(ASSIGNMENT, read, f"{number}", None, received_at_s, 100)
    made.work = work
    return made


def only(queue: WorkQueue) -> JobQueue:
    (found,) = queue._queues.values()
    return found


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
    assert len(only(queue)._by_work) < 3 * len(queue) + 100


@pytest.mark.parametrize("longest_first", [False, True])
def test_what_is_forgotten_is_neither_taken_nor_counted_nor_kept(longest_first: bool) -> None:
    queue = WorkQueue(longest_first=longest_first)
    items = [item(number) for number in range(1_000)]
    for each in items:
        queue.add(each)
    for each in items[1:]:
        queue.discard(each)
        queue.discard(each)
    assert len(queue) == len(only(queue)) == 1
    assert len(only(queue)._by_work) < 100
    assert queue.take(10, 0.0) == [items[0]]
    assert len(queue) == 0


def job_of(made: WorkItem) -> str:
    return (dict(made.record.headers).get(JOB) or b"").decode()


def jobs_of(items: list[WorkItem]) -> Counter[str]:
    return Counter(map(job_of, items))


def test_a_small_job_goes_beside_one_that_filled_the_queue() -> None:
    queue = WorkQueue()
    for number in range(10_000):
        queue.add(item(number, job="a"))
    queue.take(64, 0.0)
    for number in range(10_000, 10_100):
        queue.add(item(number, job="b"))
    chunks = [queue.take(64, 0.0) for _ in range(4)]
    assert jobs_of([each for chunk in chunks for each in chunk])["b"] == pytest.approx(100, abs=8)
    assert [len(chunk) for chunk in chunks] == [64] * 4


@pytest.mark.parametrize("most", [1, 7, 64])
def test_weights_share_the_work_and_not_the_records(most: int) -> None:
    queue = WorkQueue()
    long = line("x", body={"input": "y" * 1_000})
    for number in range(4_000):
        queue.add(item(number, job="heavy", weight=3, value=long))
        queue.add(item(number, job="light", value=line("x")))
    work = Counter[str]()
    while work["heavy"] < 600_000:
        for each in queue.take(most, 0.0):
            work[job_of(each)] += len(each.line)
    assert work["heavy"] / work["light"] == pytest.approx(3.0, rel=0.03)


def test_records_without_a_job_are_one_job() -> None:
    queue = WorkQueue()
    for number in range(300):
        queue.add(item(number))
        queue.add(item(number, job="b", weight=2))
        queue.add(item(number, job="", weight=100))
    taken = jobs_of([each for _ in range(15) for each in queue.take(16, 0.0)])
    assert taken["b"] / taken[""] == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize("weight", ["0", "101", "-1", "3.0", "x", "", "03", "٣"])
def test_any_other_weight_counts_as_absent(weight: str) -> None:
    queue = WorkQueue()
    for number in range(300):
        queue.add(item(number, job="a", weight=weight))
        queue.add(item(number, job="b"))
    taken = jobs_of(queue.take(160, 0.0))
    assert taken["a"] == pytest.approx(taken["b"], abs=20)


def test_ranked_records_share_by_their_work_and_stay_ranked_within_a_job() -> None:
    queue = WorkQueue(longest_first=True)
    for number in range(1_000):
        queue.add(item(number, work=1 + number % 10, job="short"))
        queue.add(item(number, work=10 * (1 + number % 10), job="long"))
    work: dict[str, list[float]] = {"short": [], "long": []}
    for _ in range(500):
        (taken,) = queue.take(1, 0.0)
        work[job_of(taken)].append(taken.work)
    for had in work.values():
        assert had == sorted(had, reverse=True)
    assert sum(work["long"]) == pytest.approx(sum(work["short"]), abs=200)


def test_a_record_that_states_a_monstrous_work_does_not_stop_its_job() -> None:
    queue = WorkQueue(longest_first=True)
    for number in range(2_000):
        queue.add(item(number, work=1e17 if number == 1_000 else 1.0, job="a"))
        queue.add(item(number, work=1.0, job="b"))
    taken = [queue.take(1, 0.0)[0] for _ in range(2_000)]
    assert jobs_of(taken)["a"] > 900


def test_what_is_called_again_is_charged_to_its_job() -> None:
    queue = WorkQueue()
    for number in range(400):
        queue.add(item(number, job="poisoned"))
        queue.add(item(number, job="sound"))
    had = Counter[str]()
    again: list[WorkItem] = []
    for _ in range(100):
        queue.charge_again(again)
        taken = queue.take(1, 0.0)
        again = [each for each in taken if job_of(each) == "poisoned"]
        had += jobs_of(taken)
    assert had["sound"] / had["poisoned"] == pytest.approx(2.0, rel=0.1)


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(1, 100), st.integers(0, 9), st.booleans()),
        max_size=120,
    ),
    st.integers(1, 40),
    st.booleans(),
)
def test_every_record_of_every_job_goes_once_and_no_room_is_left(
    entries: list[tuple[int, int, int, bool]], most: int, longest_first: bool
) -> None:
    queue = WorkQueue(longest_first=longest_first)
    wanted: dict[str, list[WorkItem]] = {}
    taken: list[WorkItem] = []
    waiting = 0
    for number, (job, weight, work, is_forgotten) in enumerate(entries):
        made = item(number, work, job=f"{job}", weight=weight)
        queue.add(made)
        if is_forgotten:
            queue.discard(made)
        else:
            wanted.setdefault(f"{job}", []).append(made)
            waiting += 1
        if number % 3 == 2:
            chunk = queue.take(most, 0.0)
            # Small records: only their number limits a chunk.
            assert len(chunk) == min(most, waiting)
            waiting -= len(chunk)
            taken += chunk
        assert len(queue) == waiting == len(queue.waiting())
    while chunk := queue.take(most, 0.0):
        taken += chunk
    for name, items in wanted.items():
        went = [each for each in taken if job_of(each) == name]
        if longest_first:
            assert set(ids(went)) == set(ids(items))
        else:
            assert went == items
    assert len(taken) == sum(map(len, wanted.values()))
    assert not queue._queues
