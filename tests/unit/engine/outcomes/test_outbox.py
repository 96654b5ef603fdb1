"""Which outcomes may go while the group rebalances."""

from consumer.engine.offsets.ledger import PartitionLedger
from consumer.engine.outcomes.outbox import Outbox
from consumer.engine.work import PartitionAssignment, WorkItem
from tests.engines import P0, P1, record

A0, A1 = (PartitionAssignment(each, PartitionLedger(None, 4096), None) for each in (P0, P1))


def item(offset: int, assignment: PartitionAssignment = A0) -> WorkItem:
    return WorkItem(assignment, record(offset), "a", None, 0.0, 1)


def take_all(outbox: Outbox) -> list[WorkItem]:
    taken = []
    while outbox.has_publishable:
        taken.append(outbox.take())
    return taken


def test_what_was_decided_before_a_revoke_may_go_and_what_comes_later_waits() -> None:
    outbox = Outbox()
    first, second, third, fourth = (item(n) for n in range(4))
    outbox.add(first)
    assert not outbox.has_publishable, "it starts closed"
    outbox.open()
    outbox.add(second)
    outbox.close()
    outbox.add(third)
    assert take_all(outbox) == [first, second]
    outbox.put_back([second])
    assert take_all(outbox) == [second], "it was decided before"
    outbox.hold()
    outbox.put_back([second])
    outbox.close()
    outbox.add(fourth)
    assert outbox.is_held
    assert not outbox.has_publishable
    outbox.open()
    assert take_all(outbox) == [second, third, fourth]


def test_partitions_take_turns_and_a_lost_one_leaves_with_all_that_waits() -> None:
    outbox = Outbox()
    outbox.open()
    a, b, c, d = item(0), item(1), item(0, A1), item(1, A1)
    for each in (a, b, c):
        outbox.add(each)
    outbox.close()
    outbox.add(d)
    assert outbox.publishable_records(A1) == 1
    assert [outbox.take(), outbox.take()] == [a, c]
    assert outbox.remove(A1) == [d]
    assert outbox.remove(A0) == [b]
