"""Texts are tokenized in parts, whatever size a record has."""

import pytest

from serve_models.text.models.tokenizing import TextInput, parts_of


@pytest.mark.parametrize(
    ("inputs", "parts"),
    [
        ([], [[]]),
        (["aa", "bb"], [["aa", "bb"]]),
        (["aa", "bb", "c"], [["aa", "bb"], ["c"]]),
        (["long text", "a", "b"], [["long text"], ["a", "b"]]),
        (["a", "long text", "b"], [["a"], ["long text"], ["b"]]),
        ([("aa", "b"), "c", ("d", "e")], [[("aa", "b"), "c"], [("d", "e")]]),
    ],
)
def test_parts_hold_at_most_so_many_characters(
    inputs: list[TextInput], parts: list[list[TextInput]]
) -> None:
    assert list(parts_of(inputs, 4)) == parts
