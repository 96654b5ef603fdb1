import pytest

from tests.chaos.load.records import MAX_REQUEST_BYTES, Expectation, Workload, expectation, line


def test_the_same_seed_draws_the_same_load() -> None:
    first, second = Workload(3), Workload(3)
    records = [first.uneven() for _ in range(200)]
    assert records == [second.uneven() for _ in range(200)]
    assert len({record.key for record in records}) == 200
    assert {expectation(record.value) for record in records} == {Expectation.RESULT}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, Expectation.NONE),
        (b"{", Expectation.DEAD_LETTER),
        (b"[]", Expectation.DEAD_LETTER),
        (b'{"url":"/v1/embeddings"}', Expectation.DEAD_LETTER),
        (line("a", padding="x" * MAX_REQUEST_BYTES), Expectation.BOTH),
        (line("a", ms=3), Expectation.RESULT),
        (line("a", fail=True), Expectation.BOTH),
        (line("a", poison=True), Expectation.BOTH),
    ],
)
def test_each_record_has_the_outcome_it_must_have(
    value: bytes | None, expected: Expectation
) -> None:
    assert expectation(value) is expected


def test_odd_records_are_odd() -> None:
    workload = Workload(1)
    assert expectation(workload.tombstone().value) is Expectation.NONE
    assert expectation(workload.oversized().value) is Expectation.BOTH
    malformed = {expectation(workload.malformed().value) for _ in range(50)}
    assert malformed == {Expectation.DEAD_LETTER}
