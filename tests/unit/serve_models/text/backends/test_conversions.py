"""Conversions are made once, and again for other weights or another converter."""

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from serve_models.text.backends.agreement import Agreement
from serve_models.text.backends.conversions import Conversion, conversion_directory, converted

KEY = Conversion("openvino", "int8", "float32", "openvino 1")
AGREEMENT = Agreement("cosine", 0.995, 0.98, 48)


class Maker:
    def __init__(self) -> None:
        self.made = 0

    def __call__(self, directory: Path) -> Agreement:
        self.made += 1
        (directory / "model.xml").write_text("converted")
        return AGREEMENT


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint"
    path.mkdir()
    (path / "config.json").write_text("{}")
    (path / "model.safetensors").write_bytes(b"weights")
    return path


def directory_of(checkpoint: Path, key: Conversion = KEY) -> Path:
    return conversion_directory(checkpoint, key, checkpoint.parent / "cache")


def test_the_second_start_converts_nothing(checkpoint: Path) -> None:
    make = Maker()
    for _ in range(2):
        with converted(directory_of(checkpoint), make) as (directory, agreement):
            assert (directory / "model.xml").read_text() == "converted"
            assert agreement == AGREEMENT
    assert make.made == 1


def test_other_weights_have_another_conversion(checkpoint: Path) -> None:
    before = directory_of(checkpoint)
    # As many bytes, at the same time: only the content tells.
    stat = (checkpoint / "model.safetensors").stat()
    (checkpoint / "model.safetensors").write_bytes(b"WEIGHTS")
    os.utime(checkpoint / "model.safetensors", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert directory_of(checkpoint) != before


def test_another_converter_or_form_has_another_conversion(checkpoint: Path) -> None:
    keys = [
        KEY,
        replace(KEY, converter="openvino 2"),
        replace(KEY, quantization="none"),
        replace(KEY, backend="onnx"),
        replace(KEY, dtype="bfloat16"),
    ]
    assert len({directory_of(checkpoint, key) for key in keys}) == len(keys)


def test_what_a_conversion_does_not_read_changes_nothing(checkpoint: Path) -> None:
    before = directory_of(checkpoint)
    (checkpoint / "README.md").write_text("read me")
    (checkpoint / "onnx").mkdir()
    (checkpoint / "onnx" / "model.onnx").write_bytes(b"another")
    (checkpoint / ".cache").mkdir()
    (checkpoint / ".cache" / "lock.json").write_text("{}")
    assert directory_of(checkpoint) == before


def test_an_interrupted_conversion_leaves_nothing(checkpoint: Path) -> None:
    directory = directory_of(checkpoint)

    def interrupted(scratch: Path) -> Agreement:
        (scratch / "model.xml").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), converted(directory, interrupted):
        pass
    assert [each.name for each in directory.parent.iterdir() if each.is_dir()] == []
    make = Maker()
    with converted(directory, make) as (made, _):
        assert (made / "model.xml").read_text() == "converted"


def test_of_several_that_want_it_one_converts(checkpoint: Path) -> None:
    directory = directory_of(checkpoint)
    begins = threading.Barrier(4)
    made: list[Path] = []
    seen: list[str] = []

    def make(scratch: Path) -> Agreement:
        made.append(scratch)
        (scratch / "model.xml").write_text("converted")
        return AGREEMENT

    def load() -> None:
        begins.wait()
        with converted(directory, make) as (found, _):
            seen.append((found / "model.xml").read_text())

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert seen == ["converted"] * 4
    assert len(made) == 1


def test_where_the_cache_cannot_be_written_the_model_is_converted_each_time(
    checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # A file where the cache's folder should be: root may write into any folder.
    (checkpoint.parent / "cache").write_text("")
    make = Maker()
    for _ in range(2):
        with converted(directory_of(checkpoint), make) as (directory, agreement):
            assert (directory / "model.xml").is_file()
            assert agreement == AGREEMENT
    assert make.made == 2
    assert "HEADRACE_CACHE" in caplog.text
