from pathlib import Path

import pytest

from serve_models.weights.receipts import (
    Receipt,
    mark_files,
    read_receipt,
    receipt_file,
    write_receipt,
)
from serve_models.weights.references import parse_source
from tests.checkpoints import sharded, write_files


@pytest.fixture
def receipt(tmp_path: Path) -> Receipt:
    directory = write_files(tmp_path / "objects" / "m", sharded())
    return Receipt(
        source="s3://bucket/m",
        revision="1",
        directory="objects/m",
        files=mark_files(directory, list(sharded())),
    )


def test_a_receipt_is_read_as_it_was_written(receipt: Receipt, tmp_path: Path) -> None:
    file = receipt_file(tmp_path, parse_source(receipt.source), "weights", with_code=False)
    write_receipt(file, receipt)

    assert read_receipt(file) == receipt
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert receipt.size_bytes == sum(map(len, sharded().values()))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "x": 1}'])
def test_what_is_no_receipt_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "receipt.json").write_text(content)
    assert read_receipt(tmp_path / "receipt.json") is None
    assert read_receipt(tmp_path / "missing.json") is None


def test_lengths_show_what_is_cut_off_and_checksums_what_is_changed(
    receipt: Receipt, tmp_path: Path
) -> None:
    assert receipt.find_damage(tmp_path) == receipt.find_changed(tmp_path) == []
    shard = tmp_path / "objects" / "m" / "model-00001-of-00003.safetensors"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1] + b"?")
    assert receipt.find_damage(tmp_path) == []
    assert receipt.find_changed(tmp_path) == [
        "model-00001-of-00003.safetensors has another checksum than when it arrived"
    ]
    shard.write_bytes(content[:-1])
    (tmp_path / "objects" / "m" / "config.json").unlink()
    assert len(receipt.find_damage(tmp_path)) == 2
    assert receipt.find_changed(tmp_path) == receipt.find_damage(tmp_path)
