"""Control records: what they may say."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from schemas.asyncapi import json_schema
from schemas.wire.control import ControlRecord, UnreadableControlError, parse_control_record


@pytest.mark.parametrize(
    "target", [{"custom_id": "a-1"}, {"job": "nightly"}, {"whole_route": True}]
)
def test_a_control_record_names_one_target_and_comes_back_as_it_was(target: dict[str, Any]) -> None:
    control = ControlRecord.model_validate({"action": "cancel", "route": "chat", **target})
    assert parse_control_record(control.to_json()) == control
    assert control.to_json().count(b":") == 3
    Draft202012Validator(json_schema("control")).validate(
        {"action": "cancel", "route": "chat", **target}
    )


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "no value"),
        (b"", "JSON"),
        (b"[]", "value"),
        (b'{"action":"cancel","route":"chat"}', "exactly one"),
        (b'{"action":"cancel","route":"chat","job":"a","custom_id":"b"}', "exactly one"),
        (b'{"action":"cancel","route":"chat","job":""}', "job"),
        (b'{"action":"cancel","route":"chat","whole_route":false}', "whole_route"),
        (b'{"action":"cancel","route":"chat","whole_route":true,"tenant":"x"}', "tenant"),
        (b'{"action":"pause","route":"chat","whole_route":true}', "action"),
        (b'{"job":"' + b"x" * 20_000 + b'"}', "over the"),
    ],
)
def test_what_cannot_be_followed_says_why(value: bytes | None, problem: str) -> None:
    with pytest.raises(UnreadableControlError, match=problem):
        parse_control_record(value)
