"""Few shapes, and little filling."""

from hypothesis import given
from hypothesis import strategies as st

from serve_models.text.device.shapes import length_bucket, rows_bucket


@given(st.integers(1, 100_000))
def test_rows_are_filled_up_by_a_quarter_at_most(rows: int) -> None:
    assert rows <= rows_bucket(rows) <= rows * 1.25


@given(st.integers(8, 100_000), st.none() | st.integers(1, 100_000))
def test_lengths_are_padded_by_a_half_at_most_and_never_over_what_the_model_reads(
    tokens: int, most: int | None
) -> None:
    padded = length_bucket(tokens, most)
    assert tokens <= padded < tokens * 1.5 + 1
    assert most is None or padded <= max(tokens, most)


def test_there_are_few_of_them() -> None:
    assert len({rows_bucket(rows) for rows in range(1, 4097)}) <= 44
    assert len({length_bucket(tokens, 512) for tokens in range(1, 513)}) <= 13


@given(st.integers(1, 10_000))
def test_what_is_filled_up_stays_as_it_is(number: int) -> None:
    assert rows_bucket(rows_bucket(number)) == rows_bucket(number)
    assert length_bucket(length_bucket(number, None), None) == length_bucket(number, None)
