from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace_client.bulk.rows.text.json_columns import (
    JSON_METADATA,
    TYPES,
    as_array,
    field,
    sampled_types,
    type_name,
)

_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**64), 2**64 - 1).filter(lambda each: each >= -(2**63)),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.lists(st.integers(0, 3), max_size=2),
)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ([1, None], "int64"),
        ([1, 0.5], "double"),
        ([True], "bool"),
        (["a"], "string"),
        ([None], "string"),
        ([1, "a"], "string"),
        ([True, 1], "string"),
        ([2**63], "string"),
        ([[1], {"a": 1}], "json"),
        ([[1], "a"], "string"),
    ],
)
def test_types_of_a_sample(values: list[Any], named: str) -> None:
    assert sampled_types([{"a": value} for value in values]) == {"a": named}


def test_columns_come_in_the_order_of_the_keys() -> None:
    assert list(sampled_types([{"b": 1}, {"a": 1, "b": 1}, {"c": 1}])) == ["b", "a", "c"]


@given(values=st.lists(_VALUES), named=st.sampled_from(sorted(TYPES)))
@example(values=[2**53 + 1, 0.5], named="double")
@example(values=[2**63, 1], named="int64")
def test_values_go_in_exactly_or_not_at_all(values: list[Any], named: str) -> None:
    array, unfit = as_array(values, field("a", named))

    assert array.type == TYPES[named]
    for index, (value, kept) in enumerate(zip(values, array.to_pylist(), strict=True)):
        if value is None or index in unfit:
            assert kept is None
        elif named == "json" or (named == "string" and not isinstance(value, str)):
            assert kept == orjson.dumps(value).decode()
        else:
            assert kept == value
            assert isinstance(kept, bool) == isinstance(value, bool)


@given(values=st.lists(_VALUES, min_size=1))
def test_a_sample_fits_the_types_that_it_shows(values: list[Any]) -> None:
    ((_, named),) = sampled_types([{"a": value} for value in values]).items()

    _, unfit = as_array(values, field("a", named))

    assert all(named == "double" and abs(values[index]) > 2**53 for index in unfit)


def test_columns_of_objects_say_that_they_are_json() -> None:
    column = field("a", "json")

    assert column.type == pa.string()
    assert column.metadata == JSON_METADATA
    assert [type_name(field("a", each)) for each in TYPES] == list(TYPES)
