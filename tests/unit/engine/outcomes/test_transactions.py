"""Which transactions may begin, and what one that was fenced leaves behind."""

from consumer.engine.engine import Engine
from consumer.engine.outcomes.transactions import Transaction
from handoff.chunk import STATUS_OK, Outcomes
from tests.engines import P0, P1, make_engine, next_call, record
from tests.simulation import EPOCH_MS


def holding(records: int = 2) -> Engine:
    engine = make_engine()
    engine.assign({P0: None})
    engine.deliver([record(offset) for offset in range(records)], 0.0, EPOCH_MS)
    return engine


def answer(engine: Engine) -> None:
    call, chunk = next_call(engine, 1.0, EPOCH_MS)
    outcomes = Outcomes("replica-1", 64)
    for index in range(len(chunk.lines)):
        outcomes.add(index, STATUS_OK, b"{}")
    engine.take_outcomes(call, outcomes, 1.0, EPOCH_MS)
    engine.end_call(call, "over", 1.0, EPOCH_MS)


def begin(engine: Engine) -> Transaction:
    transaction = engine.transactions.begin(P0, 100, 1 << 20)
    assert transaction is not None
    return transaction


def test_progress_without_outcomes_moves_only_while_partitions_are_surely_ours() -> None:
    engine = holding()
    call, _chunk = next_call(engine, 1.0, EPOCH_MS)
    engine.suspend()
    engine.end_call(call, "the replica was lost", 1.0, EPOCH_MS)
    # Attempts count from one owner to the next, so they are progress of a kind.
    assert engine.transactions.partitions_due(even_without_outcomes=True) == [P0]

    engine.hold_publications()
    assert engine.transactions.partitions_due(even_without_outcomes=True) == []

    engine.assign({P0: None})
    assert engine.transactions.partitions_due(even_without_outcomes=True) == [P0]


def test_a_partition_that_is_found_to_be_anothers_stays_unread_until_the_group_rebalances() -> None:
    engine = holding()
    answer(engine)

    assert engine.transaction_fenced(begin(engine))
    assert engine.partitions == []


def test_in_the_middle_of_a_rebalance_the_assignment_says_whose_it_is() -> None:
    engine = holding()
    answer(engine)
    transaction = begin(engine)
    engine.suspend()
    engine.hold_publications()

    assert not engine.transaction_fenced(transaction)
    engine.assign({P0: None})
    assert engine.partitions == [P0]


def test_what_was_let_go_is_nothing_to_wait_for() -> None:
    engine = holding()
    answer(engine)
    transaction = begin(engine)
    engine.suspend()
    engine.assign({P1: None})

    assert not engine.transaction_fenced(transaction)
    assert engine.partitions == [P1]
    assert engine.held_records == 0
