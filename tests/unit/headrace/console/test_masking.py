"""No secret is shown, and what is none is shown as it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.console.masking import MASK, masked

SECRETS = [
    ("password", "hush"),
    ("key_password", "hush"),
    ("api_key", "hush"),
    ("apiKey", "hush"),
    ("OPENAI_API_KEY", "hush"),
    ("hf_token", "hush"),
    ("token", 12345678),
    ("aws_secret_access_key", "hush"),
    ("AWS_ACCESS_KEY_ID", "hush"),
    ("client_secret", "hush"),
    ("connection_string", "hush"),
    ("anything", "hf_abcdefghijklmnopqrst"),
    ("anything", "Bearer sk-abcdefghijklmnopqrst"),
    ("anything", "**********"),
    ("DB_PWD", "hush"),
    ("passwords", ["hush"]),
    ("secret", {"value": "hush"}),
    ("credentials", {"a": [{"b": "hush"}]}),
    ("dbPassword", "hush"),
    ("token", {"value": 12345678}),
    ("args", ["--token", "hush"]),
    ("args", ["--api-key=hush"]),
    ("args", ["--password", {"value": "hush"}]),
    ("text", "see https://anna:hush@host"),
]
PLAIN = [
    ("max_batched_tokens", 4096),
    ("token_budget_tokens", 16384),
    ("read_token_file", "/run/secrets/read"),
    ("read_token_env", "READ_TOKEN"),
    ("tokenizer", "org/name"),
    ("key_file", "/etc/key.pem"),
    ("password", None),
    ("trust_remote_code", False),
    ("ordering", "key"),
    ("secret", {"file": "/run/secrets/x", "kind": "opaque"}),
    ("args", ["--port", "8000", "--token-file", "/x", "--tokenizer=y"]),
    ("eos_token", "</s>"),
    ("source", "hub:org/name@main"),
    ("url", "s3://bucket/prefix"),
]


@pytest.mark.parametrize(("key", "value"), SECRETS)
def test_secrets_are_masked_by_name_or_form(key: str, value: object) -> None:
    shown = str(masked({"a": [{key: value}]}))
    assert MASK in shown
    assert str(value) not in shown
    assert "hush" not in shown
    assert "12345678" not in shown


@pytest.mark.parametrize(("key", "value"), PLAIN)
def test_what_is_no_secret_is_shown(key: str, value: object) -> None:
    assert masked({key: value}) == {key: value}


def test_a_url_keeps_its_place_and_loses_who_and_how() -> None:
    url = "s3://AKIAIOSFODNN7EXAMPLE:wJalrXUt@bucket.example/prefix?X-Amz-Signature=abc#x"
    shown = masked({"store": url})["store"]
    assert "bucket.example/prefix" in shown
    for secret in ("AKIAIOSFODNN7EXAMPLE", "wJalrXUt", "abc"):
        assert secret not in shown


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda below: st.lists(below) | st.dictionaries(st.text(), below),
    )
)
def test_any_value_is_taken_and_keeps_its_shape(value: object) -> None:
    shown = masked(value)
    if isinstance(value, dict) and isinstance(shown, dict):
        assert shown.keys() == value.keys()
