"""What a request may ask for, on values as vLLM's request classes have read them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from serve_models.generation.checks import RequestRefusedError
from serve_models.generation.limits import (
    MOST_LOGPROBS,
    ModelLimits,
    check_request,
    clipped_lengths,
)

LIMITS = ModelLimits(max_model_len=32_768, max_logprobs=20)
CHAT = {"messages": [{"role": "user", "content": "hi"}], "logprobs": False, "top_logprobs": 0}
COMPLETION = {"prompt": "hi", "n": 1, "max_tokens": 16, "logprobs": None}


class Penalty(BaseModel):
    count: int


@dataclass
class Constraint:
    width: int


def refused_field(values: Mapping[str, Any], limits: ModelLimits = LIMITS) -> str:
    with pytest.raises(RequestRefusedError) as caught:
        check_request(values, values, limits)
    assert str(caught.value).startswith(f"{caught.value.param}: ")
    return caught.value.param


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("n", {**CHAT, "n": 129}),
        ("n", {**COMPLETION, "n": 16_384}),
        ("prompt", {**COMPLETION, "prompt": ["a"] * 100, "n": 2}),
        ("prompt", {**COMPLETION, "prompt": [[1, 2]] * 129}),
        ("prompt", {**COMPLETION, "prompt": None, "prompt_embeds": [b""] * 129}),
    ],
)
def test_more_sequences_than_one_request_may_have_are_refused(
    field: str, values: Mapping[str, Any]
) -> None:
    assert refused_field(values) == field


@pytest.mark.parametrize(
    "values",
    [
        {**CHAT, "n": 128},
        {**CHAT, "n": None},
        {**COMPLETION, "prompt": ["a"] * 64, "n": 2},
        {**COMPLETION, "prompt": list(range(1_000))},
        {**COMPLETION, "n": 0},
        {"prompt": None, "prompt_embeds": b""},
    ],
)
def test_as_many_as_it_may_have_are_taken(values: Mapping[str, Any]) -> None:
    check_request(values, values, LIMITS)


def test_more_choices_than_the_engine_ever_holds_are_refused_and_not_asked_for_again() -> None:
    limits = ModelLimits(max_model_len=32_768, max_logprobs=20, most_queued=4)
    check_request({**CHAT, "n": 4}, CHAT, limits)
    assert refused_field({**CHAT, "n": 5}, limits) == "n"


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**20])
@pytest.mark.parametrize(
    "wrapped",
    [
        lambda value: value,
        lambda value: [1, value],
        lambda value: {"a": [value]},
        lambda value: Penalty(count=value),
        lambda value: Constraint(width=value),
    ],
)
def test_a_number_that_cannot_reach_the_engine_is_refused_by_its_field(
    value: int, wrapped: Callable[[int], object]
) -> None:
    assert refused_field({**CHAT, "top_k": wrapped(value)}) == "top_k"


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), True, None, "x", Penalty(count=1)])
def test_what_can_reach_it_is_taken(value: object) -> None:
    check_request({**CHAT, "top_k": value}, CHAT, LIMITS)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("top_logprobs", {**CHAT, "n": 128, "max_tokens": 1_100, "logprobs": True}),
        (
            "top_logprobs",
            {**CHAT, "logprobs": True, "top_logprobs": 20, "max_completion_tokens": 7_000},
        ),
        ("top_logprobs", {**CHAT, "logprobs": True, "top_logprobs": 4}),
        ("logprobs", {**COMPLETION, "prompt": ["a"] * 128, "max_tokens": 500, "logprobs": 2}),
        ("logprobs", {**COMPLETION, "max_tokens": None, "logprobs": 20}),
        ("logprobs", {**COMPLETION, "n": 128, "max_tokens": 100, "logprobs": -1}),
        (
            "logprobs",
            {**COMPLETION, "max_tokens": 32_768, "logprobs": 0, "logprob_token_ids": [1] * 9},
        ),
        ("prompt_logprobs", {**COMPLETION, "prompt": [1] * 30_000, "prompt_logprobs": 5}),
        ("prompt_logprobs", {**COMPLETION, "prompt": "a" * 9_000, "prompt_logprobs": 20}),
        ("n", {**CHAT, "use_beam_search": True, "n": 100, "max_tokens": 100}),
    ],
)
def test_a_result_of_too_many_log_probabilities_is_refused(
    field: str, values: Mapping[str, Any]
) -> None:
    assert refused_field(values) == field


def test_the_refusal_names_the_numbers_and_what_to_lower() -> None:
    values = {**COMPLETION, "n": 128, "max_tokens": 1_000, "logprobs": 20}
    with pytest.raises(RequestRefusedError) as caught:
        check_request(values, values, LIMITS)
    for said in ("128 sequences", "1000 tokens", "2688000", str(MOST_LOGPROBS), "n, logprobs"):
        assert said in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {**CHAT, "n": 128},
        {**CHAT, "n": 128, "top_logprobs": 20},
        {**CHAT, "logprobs": True},
        {**CHAT, "logprobs": True, "top_logprobs": 20, "max_tokens": 4_000},
        {**COMPLETION, "n": 128, "max_tokens": None},
        {**COMPLETION, "n": 2, "max_tokens": 3_000, "logprobs": 20},
        {**COMPLETION, "prompt": [[1] * 2_000] * 8, "echo": True, "logprobs": 1, "max_tokens": 1},
        {**COMPLETION, "prompt_logprobs": 20},
        # vLLM's own refusal, which names the limit of the engine.
        {**COMPLETION, "logprobs": 100_000},
        {**COMPLETION, "max_tokens": -1, "logprobs": 5},
    ],
)
def test_what_a_request_needs_is_taken(values: Mapping[str, Any]) -> None:
    check_request(values, values, LIMITS)


def test_lengths_are_clipped_to_the_models() -> None:
    values = {"max_tokens": 10**20, "max_completion_tokens": 5}
    assert clipped_lengths(values, LIMITS) == {"max_tokens": 32_768}
    assert clipped_lengths({"max_tokens": None}, LIMITS) == {}


NUMBERS = st.none() | st.integers(-2, 200) | st.integers()


@given(
    st.fixed_dictionaries(
        {"messages": st.just([])},
        optional={
            "n": NUMBERS,
            "max_tokens": NUMBERS,
            "logprobs": st.booleans() | st.none(),
            "top_logprobs": NUMBERS,
            "prompt_logprobs": NUMBERS,
            "echo": st.booleans(),
            "top_k": NUMBERS,
        },
    )
)
def test_any_request_is_taken_or_refused_by_name(values: Mapping[str, Any]) -> None:
    values = {**values, **clipped_lengths(values, LIMITS)}
    param = None
    try:
        check_request(values, values, LIMITS)
    except RequestRefusedError as error:
        param = error.param
    assert param is None or param in values
