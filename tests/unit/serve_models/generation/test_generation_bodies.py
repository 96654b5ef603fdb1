from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_models.generation.bodies import MOST_ENTRIES, BodyNotTakenError, check_body

HELLO = {"role": "user", "content": "hello"}


def check(
    body: Mapping[str, Any], takes_kv_transfer: bool = False, takes_media_urls: bool = False
) -> None:
    check_body(body, takes_kv_transfer=takes_kv_transfer, takes_media_urls=takes_media_urls)


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
        ("tools", {"messages": [HELLO], "tools": ["x"]}),
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
    with pytest.raises(BodyNotTakenError) as caught:
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
    except BodyNotTakenError as error:
        param = error.param
    assert param is None or param.partition(".")[0] in body
