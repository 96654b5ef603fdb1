"""Numbers by which jobs take turns."""

from consumer.engine.bodies.fair_numbers import _LEAST_PRUNED, FairNumbers


def test_one_job_alone_is_in_order_of_arrival() -> None:
    numbers = FairNumbers()
    given = []
    for count in range(1_000):
        given.append(numbers.number(b"", 1))
        if count % 3 == 0:
            numbers.started(given[count // 3])
    assert given == sorted(set(given))


def test_a_job_that_comes_later_is_numbered_among_those_that_wait() -> None:
    numbers = FairNumbers()
    flood = [numbers.number(b"flood", 1) for _ in range(1_000)]
    numbers.started(flood[9])
    late = [numbers.number(b"late", 1) for _ in range(3)]
    assert late == flood[10:13]
    assert [numbers.number(b"heavy", 4) for _ in range(4)][-1] == flood[10]


def test_what_is_remembered_is_bounded_by_what_waits() -> None:
    numbers = FairNumbers()
    for job in range(20 * _LEAST_PRUNED):
        numbers.started(numbers.number(b"%d" % job, 1))
    assert len(numbers._latest) <= 2 * _LEAST_PRUNED
