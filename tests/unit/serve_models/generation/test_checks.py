"""Bodies that are refused or trimmed before vLLM reads them, and fields that nobody knows."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_models.generation.checks import (
    MOST_ENTRIES,
    RequestRefusedError,
    check_body,
    ignored_fields,
    without_nulls,
)
from serve_models.generation.media.policy import MediaPolicy

HELLO = {"role": "user", "content": "hello"}
STRUCTURED = frozenset({"json", "regex", "choice", "grammar", "whitespace_pattern"})
SCHEMA = {"type": "object", "properties": {"a": {"default": None, "enum": [None, 1]}}}


def check(
    body: Mapping[str, Any], takes_kv_transfer: bool = False, takes_media_urls: bool = False
) -> None:
    check_body(
        body,
        takes_kv_transfer=takes_kv_transfer,
        media=MediaPolicy(domains=takes_media_urls),
        structured_fields=STRUCTURED,
    )


def with_part(part: object) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [part]}]}


@pytest.mark.parametrize(
    ("param", "body"),
    [
        ("stream", {"messages": [HELLO], "stream": True}),
        (
            "kv_transfer_params",
            {"messages": [HELLO], "kv_transfer_params": {"prompt_token_ids": [1, 2]}},
        ),
        ("messages", {"messages": [HELLO, 1]}),
        ("messages", {"messages": [HELLO] * (MOST_ENTRIES + 1)}),
        ("messages", {"messages": 5}),
        ("messages", {"messages": [{**HELLO, "tool_calls": 5}]}),
        ("tools", {"messages": [HELLO], "tools": ["x"]}),
        ("tools", {"messages": [HELLO], "tools": {}}),
        ("tools", {"messages": [HELLO], "tools": [{"type": "function", "function": 5}]}),
        ("tools", {"messages": [HELLO], "tools": [{"type": "function", "function": {}}]}),
        ("structured_outputs", {"messages": [HELLO], "structured_outputs": 5}),
        ("messages.0.content", with_part(7)),
        ("messages.0.content", with_part({"type": "image_url", "image_url": "http://10.0.0.1/"})),
        (
            "messages.0.content",
            with_part({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}),
        ),
    ],
)
def test_what_costs_the_neighbours_or_bypasses_the_prompt_is_refused(
    param: str, body: Mapping[str, Any]
) -> None:
    with pytest.raises(RequestRefusedError) as caught:
        check(body)
    assert caught.value.param == param
    assert str(caught.value).startswith(f"{param}: ")


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [HELLO]},
        {"prompt": list(range(1000))},
        with_part({"type": "text", "text": "hello"}),
        with_part({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}),
    ],
)
def test_what_a_request_needs_is_taken(body: Mapping[str, Any]) -> None:
    check(body)


def test_the_settings_open_what_is_set_up() -> None:
    check({"messages": [HELLO], "kv_transfer_params": {}}, takes_kv_transfer=True)
    part = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    check(with_part(part), takes_media_urls=True)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


FIELDS = ("messages", "tools", "prompt")


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON)))
def test_any_body_is_taken_or_refused_by_name(body: Mapping[str, Any]) -> None:
    param = None
    try:
        check(body)
    except RequestRefusedError as error:
        param = error.param
    assert param is None or param.partition(".")[0] in body


@pytest.mark.parametrize(
    ("body", "given"),
    [
        ({"prompt": "x", "max_tokens": None, "stop": None}, {"prompt": "x"}),
        ({"prompt": None}, {}),
        (
            {"messages": None, "n": 0, "echo": False, "stop": []},
            {"n": 0, "echo": False, "stop": []},
        ),
        (
            {"messages": [{"role": "user", "content": "x", "name": None}, "odd", None]},
            {"messages": [{"role": "user", "content": "x"}, "odd", None]},
        ),
        (
            {"messages": [{"content": [{"text": "x", "cache_control": None}, "y"]}]},
            {"messages": [{"content": [{"text": "x"}, "y"]}]},
        ),
        (
            {"messages": [{"content": None, "tool_calls": [{"index": None, "function": {}}]}]},
            {"messages": [{"tool_calls": [{"function": {}}]}]},
        ),
    ],
)
def test_a_field_that_is_null_is_left_out(body: Mapping[str, Any], given: object) -> None:
    assert without_nulls(body) == given


def test_a_null_in_a_schema_stays() -> None:
    body = {
        "tools": [{"type": "function", "function": {"parameters": SCHEMA}}],
        "response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}},
        "structured_outputs": {"json": SCHEMA},
    }
    assert without_nulls(body) == body


@given(
    st.dictionaries(
        st.sampled_from(["messages", "prompt", "tools"]),
        st.recursive(
            st.none() | st.integers() | st.text(),
            lambda inner: (
                st.lists(inner)
                | st.dictionaries(st.sampled_from(["content", "tool_calls", "x"]), inner)
            ),
            max_leaves=15,
        ),
    )
)
def test_any_body_loses_its_nulls_once(body: dict[str, Any]) -> None:
    before = repr(body)
    once = without_nulls(body)
    assert without_nulls(once) == once
    assert None not in once.values()
    assert repr(body) == before


@pytest.mark.parametrize(
    ("field", "values", "instead"),
    [
        ("guided_json", {"type": "object"}, "structured_outputs.json, or response_format"),
        ("guided_regex", "a+", "structured_outputs.regex"),
        ("guided_choice", ["a", "b"], "structured_outputs.choice"),
        ("guided_grammar", "root ::= 'a'", "structured_outputs.grammar"),
        ("guided_whitespace_pattern", " ", "structured_outputs.whitespace_pattern"),
        ("guided_decoding_backend", "outlines", "engine_args.structured_outputs_config"),
        ("extra_body", {"guided_json": {}}, "put its fields beside messages"),
        ("functions", [{"name": "f"}], "use tools"),
        ("function_call", "auto", "tool_choice"),
        ("best_of", 3, "ask for n"),
        ("modalities", ["text", "audio"], "answers are texts"),
        ("audio", {"voice": "alloy"}, "answers are texts"),
        ("web_search_options", {}, "nothing is searched"),
        ("chat_template", "{{ x }}", "a setting of the model"),
        ("chat_template_kwargs", {"chat_template": "{{ x }}"}, "a setting of the model"),
        ("response_format", {"type": "json_object", "schema": SCHEMA}, "json_schema"),
        ("response_format", {"type": "json_object", "json_schema": {"schema": SCHEMA}}, "schema"),
        ("response_format", {"type": "text", "schema": SCHEMA}, "json_schema"),
        ("structured_outputs", {"json": {}, "guided_json": {}}, "it takes choice, grammar, json"),
    ],
)
def test_what_vllm_would_drop_though_it_changes_the_answer_is_refused(
    field: str, values: object, instead: str
) -> None:
    body = {"messages": [{"role": "user", "content": "x"}], field: values}
    with pytest.raises(RequestRefusedError) as caught:
        check(without_nulls(body))
    assert caught.value.param == field
    assert instead in str(caught.value)
    check(without_nulls({**body, field: None}))


@pytest.mark.parametrize(
    "body",
    [
        {"n": 2, "best_of": 2},
        {"best_of": 1},
        {"modalities": ["text"]},
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
        {"response_format": 5},
        {"structured_outputs": {"json": SCHEMA, "nonsense": None}},
        {"metadata": {"a": "b"}, "chat_template_kwargs": {"enable_thinking": False}},
    ],
)
def test_what_vllm_reads_or_changes_nothing_is_taken(body: Mapping[str, Any]) -> None:
    check(body)


def test_fields_that_nobody_knows_are_named_and_not_too_many_of_them() -> None:
    body = {"prompt": "x", "max_new_tokens": 5, "n" * 500: 1}
    assert ignored_fields(body, {"prompt"}) == ["max_new_tokens", "n" * 64]
    assert ignored_fields({"prompt": "x"}, {"prompt"}) == []
    assert len(ignored_fields({f"x{number}": 1 for number in range(99)}, ())) == 16
