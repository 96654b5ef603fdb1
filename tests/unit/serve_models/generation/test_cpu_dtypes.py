"""The number format of a generator on a CPU."""

import pytest
from pydantic import JsonValue

from serve_models.generation.cpu_dtypes import is_quick_in_bfloat16, with_quick_dtype


@pytest.mark.parametrize(
    ("asked", "is_quick", "got"),
    [
        ({}, True, {}),
        ({}, False, {"dtype": "float32"}),
        ({"dtype": "auto"}, False, {"dtype": "float32"}),
        ({"dtype": "auto"}, True, {"dtype": "auto"}),
        ({"dtype": "bfloat16"}, False, {"dtype": "bfloat16"}),
        ({"max_num_seqs": 4}, False, {"max_num_seqs": 4, "dtype": "float32"}),
    ],
)
def test_float32_takes_the_place_of_what_may_be_slow_and_was_not_asked_for(
    asked: dict[str, JsonValue], is_quick: bool, got: dict[str, JsonValue]
) -> None:
    assert with_quick_dtype(asked, is_quick_in_bfloat16=is_quick) == got


def test_this_cpu_can_be_asked() -> None:
    assert is_quick_in_bfloat16() in (True, False)
