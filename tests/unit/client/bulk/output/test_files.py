"""What file systems cannot do is done another way."""

import errno
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from headrace_client.bulk.output.files import LOCAL_FILES
from headrace_client.bulk.output.formats.json_columns import as_json


def refuse(code: int) -> Any:
    def refusing(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    return refusing


@pytest.mark.parametrize("code", [errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_links_and_copies_by_the_kernel(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(bytes(range(256)) * 9_000)
    target.write_bytes(b"old")
    monkeypatch.setattr(os, "link", refuse(code))
    monkeypatch.setattr(os, "copy_file_range", refuse(code))

    LOCAL_FILES.link(source, target)

    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_ino != source.stat().st_ino


def test_a_full_disk_is_not_worked_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"content")
    monkeypatch.setattr(os, "copy_file_range", refuse(errno.ENOSPC))
    sink = LOCAL_FILES.create(tmp_path / "b")

    with pytest.raises(OSError, match="No space left"):
        sink.copy(tmp_path / "a")
    sink.close()


def test_a_copy_begins_where_it_is_told_and_appends(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"headerrows")
    sink = LOCAL_FILES.create(tmp_path / "b")
    sink.write(b"new ")
    sink.copy(tmp_path / "a", 6)
    sink.write(b"!")
    sink.close()

    assert (tmp_path / "b").read_bytes() == b"new rows!"


def test_values_that_json_lacks_are_text() -> None:
    row = {"n": 1 << 70, "s": "\ud800", "d": Decimal("1.50"), "deep": [{"b": b"\x00"}]}

    assert orjson.loads(as_json(row)) == {
        "n": str(1 << 70),
        "s": "?",
        "d": "1.50",
        "deep": [{"b": "AA=="}],
    }
