"""What room an engine is given for adapters, and what it refuses for want of it."""

from pathlib import Path
from typing import Any

import pytest

from serve_models.generation.adapters.checkpoint import AdapterCheckpoint, AdapterError
from serve_models.generation.adapters.room import AdapterRoom, check_adapter, room_arguments


def checkpoint(rank: int = 8) -> AdapterCheckpoint:
    return AdapterCheckpoint(Path("/adapter"), rank)


def test_an_engine_without_adapters_has_no_room_and_runs_as_fast_as_it_can() -> None:
    assert room_arguments({"max_num_seqs": 4}, []) == {}


@pytest.mark.parametrize(
    ("engine_args", "ranks", "expected"),
    [
        ({}, [8], (1, 16, 32)),
        ({}, [8, 64, 20], (3, 64, 32)),
        ({}, [33] * 40, (8, 64, 40)),
        ({"max_loras": 64}, [], (None, 16, 64)),
        ({"max_lora_rank": 128}, [], (1, None, 32)),
        ({"max_cpu_loras": 2}, [8], (1, 16, None)),
        # More than vLLM takes: it says so at the start.
        ({}, [1000], (1, 1000, 32)),
    ],
)
def test_room_is_made_for_the_adapters_at_the_start_and_some_more(
    engine_args: dict[str, Any], ranks: list[int], expected: tuple[int | None, ...]
) -> None:
    names = ("max_loras", "max_lora_rank", "max_cpu_loras")
    wanted = {name: value for name, value in zip(names, expected, strict=True) if value is not None}
    arguments = room_arguments(engine_args, [checkpoint(rank) for rank in ranks])
    assert arguments == {"enable_lora": True, **wanted}
    assert not set(arguments) & set(engine_args)


def test_a_model_whose_adapters_are_all_gone_keeps_its_room() -> None:
    assert room_arguments({}, [], takes_adapters=True)["enable_lora"] is True


@pytest.mark.parametrize(
    ("name", "rank", "room", "kept", "said"),
    [
        ("a", 8, None, 0, "set engine_args.max_loras .* engine_args.max_lora_rank"),
        ("chat", 8, AdapterRoom(16, 4), 0, "name of the model itself"),
        ("a", 17, AdapterRoom(16, 4), 0, "rank 17 .* set engine_args.max_lora_rank to 32"),
        ("a", 16, AdapterRoom(16, 4), 4, "5 adapters .* engine_args.max_cpu_loras"),
    ],
)
def test_what_an_engine_cannot_take_is_refused_by_the_name_of_the_setting(
    name: str, rank: int, room: AdapterRoom | None, kept: int, said: str
) -> None:
    with pytest.raises(AdapterError, match=said):
        check_adapter(name, checkpoint(rank), room, kept=kept, served_names={"chat", "gpt-4o"})


def test_what_fits_is_taken() -> None:
    check_adapter("a", checkpoint(16), AdapterRoom(16, 4), kept=3, served_names={"chat"})
