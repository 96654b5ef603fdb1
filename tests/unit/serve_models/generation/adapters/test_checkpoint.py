"""What is read of an adapter's directory, and what is not taken."""

import json
from pathlib import Path

import pytest

from serve_models.generation.adapters.checkpoint import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    AdapterError,
    read_checkpoint,
)


def write(folder: Path, config: object, weights: str = WEIGHTS_FILE) -> Path:
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    (folder / weights).write_bytes(b"")
    return folder


def test_the_largest_rank_of_its_modules_counts(tmp_path: Path) -> None:
    config = {"r": 8, "rank_pattern": {"q_proj": 64}, "base_model_name_or_path": "org/base"}
    read = read_checkpoint(write(tmp_path, config))
    assert (read.directory, read.rank, read.base_model) == (tmp_path, 64, "org/base")


def test_a_pickle_is_never_loaded_though_there_are_other_safetensors(tmp_path: Path) -> None:
    write(tmp_path, {"r": 8}, weights="adapter_model.bin")
    (tmp_path / "other.safetensors").write_bytes(b"")
    with pytest.raises(AdapterError, match=r"no adapter_model.safetensors.*save_pretrained"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ([], "not an adapter's configuration"),
        ({"rank_pattern": [], "r": 8}, None),
        ({"rank_pattern": [1], "r": 8}, "not an adapter's configuration"),
        ({}, "no rank"),
        ({"r": "8"}, "no rank"),
        ({"r": True}, "no rank"),
        ({"r": 0}, "no rank"),
        ({"r": 8, "rank_pattern": {"q_proj": 0.5}}, "no rank"),
    ],
)
def test_a_configuration_without_a_rank_is_refused(
    tmp_path: Path, config: object, said: str | None
) -> None:
    write(tmp_path, config)
    if said is None:
        assert read_checkpoint(tmp_path).rank == 8
        return
    with pytest.raises(AdapterError, match=said):
        read_checkpoint(tmp_path)


def test_a_configuration_that_is_missing_broken_or_huge_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {})
    (tmp_path / CONFIG_FILE).write_text("{")
    with pytest.raises(AdapterError, match="cannot be read"):
        read_checkpoint(tmp_path)
    (tmp_path / CONFIG_FILE).write_text(" " * (1024 * 1024 + 1))
    with pytest.raises(AdapterError, match="is over"):
        read_checkpoint(tmp_path)
    (tmp_path / CONFIG_FILE).unlink()
    with pytest.raises(AdapterError, match="cannot be read"):
        read_checkpoint(tmp_path)
