"""A listener that applies every patch has what was sent whole."""

import json

from hypothesis import given
from hypothesis import strategies as st

from headrace.console.live.patches import apply_patch, merge_patch

plain = st.one_of(st.booleans(), st.integers(-9, 9), st.floats(-2, 2), st.text(max_size=3))
values = st.recursive(
    plain,
    lambda below: st.one_of(
        st.lists(below, max_size=3), st.dictionaries(st.sampled_from("abc"), below, max_size=3)
    ),
    max_leaves=12,
)
documents = st.dictionaries(st.sampled_from("abcd"), values, max_size=4)


@given(documents, documents)
def test_a_patch_makes_the_new_of_the_old(old: dict[str, object], new: dict[str, object]) -> None:
    patched = apply_patch(old, merge_patch(old, new))
    # As text: to Python 1, 1.0 and True are one.
    assert json.dumps(patched, sort_keys=True) == json.dumps(new, sort_keys=True)


@given(documents)
def test_without_a_change_there_is_no_patch(document: dict[str, object]) -> None:
    assert merge_patch(document, document) == {}


def test_only_what_changed_is_sent() -> None:
    old = {"routes": {"a": {"left": 5, "rate": 1.5}, "b": {"left": 1}}, "at": 1}
    new = {"routes": {"a": {"left": 4, "rate": 1.5}}, "at": 2}
    assert merge_patch(old, new) == {"routes": {"a": {"left": 4}, "b": None}, "at": 2}
