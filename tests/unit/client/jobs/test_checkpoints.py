"""Checkpoints as plain values."""

import json
from typing import Any

import pytest

from headrace_client.jobs import Checkpoint, CheckpointError

_KEPT = Checkpoint(
    items_written=7,
    written_above=((9, 12), (20, 21)),
    items_failed=2,
    request_offsets={0: 5, 3: 70},
    result_offsets={1: 4},
    attempt=2,
    last_attempt=3,
    ending="cancelled",
    paused=True,
    active_s=12.5,
)


def test_a_checkpoint_survives_json() -> None:
    assert Checkpoint.from_dict(json.loads(json.dumps(_KEPT.to_dict()))) == _KEPT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version 2"),
        ({"items_written": None}, "damaged"),
        ({"written_above": [[1]]}, "damaged"),
        ({"request_offsets": {"a": 1}}, "damaged"),
        ({"ending": "sideways"}, "ending"),
    ],
)
def test_a_damaged_checkpoint_says_what_is_wrong(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        Checkpoint.from_dict(_KEPT.to_dict() | change)


def test_a_checkpoint_without_a_field_is_damaged() -> None:
    values = _KEPT.to_dict()
    del values["result_offsets"]
    with pytest.raises(CheckpointError, match="result_offsets"):
        Checkpoint.from_dict(values)


def test_again_takes_failed_items_out_and_begins_a_new_attempt() -> None:
    again = _KEPT.again([(3, 4), (20, 21), (30, 31)])
    assert again.items_written == 3
    assert again.written_above == ((4, 7), (9, 12))
    assert again.items_failed == 0
    assert (again.attempt, again.last_attempt) == (4, 4)
    assert (again.ending, again.paused) == (None, False)
    assert again.result_offsets == _KEPT.result_offsets


def test_again_without_failed_items_keeps_what_is_written() -> None:
    again = _KEPT.again()
    assert again.items_written == 7
    assert again.written_above == _KEPT.written_above
