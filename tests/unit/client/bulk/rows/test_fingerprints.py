"""The input may have grown; whatever else changed is said."""

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fsspec
import lance
import orjson
import pyarrow as pa
import pytest

from headrace_client.bulk.rows.errors import InputChangedError
from headrace_client.bulk.rows.files.fingerprints import EDGE_BYTES
from headrace_client.bulk.rows.source import Source

ROWS = [{"text": f"Text {n}", "id": n} for n in range(100)]
LATER = [{"text": f"Later {n}", "id": n} for n in range(10)]
FILES = [".jsonl", ".csv", ".txt", ".jsonl.gz", ".parquet", ".arrow", ".arrows", ".lance"]
GROWING = [".jsonl", ".csv", ".txt", ".jsonl.gz"]


def stored(source: Source) -> list[dict[str, Any]]:
    """Fingerprints as a manifest gives them back."""
    kept: list[dict[str, Any]] = orjson.loads(orjson.dumps(source.fingerprints))
    return kept


def opened(path: Path | str, before: Sequence[dict[str, Any]] | None = None) -> Source:
    return Source.open([str(path)], before=before)


def refusal(path: Path | str, before: Sequence[dict[str, Any]]) -> str:
    with pytest.raises(InputChangedError) as caught:
        opened(path, before)
    return str(caught.value)


def appended(path: Path, encode: Callable[..., bytes], rows: Sequence[dict[str, Any]]) -> None:
    suffix = "".join(path.suffixes)
    data = encode(rows, suffix)
    if suffix == ".csv":
        data = data.partition(b"\n")[2]
    with path.open("ab") as file:
        file.write(data)
    os.utime(path, (1, 1))


@pytest.mark.parametrize("suffix", FILES)
def test_the_same_input(suffix: str, write_rows: Callable[..., Path]) -> None:
    path = write_rows(f"rows{suffix}", ROWS)
    before = stored(opened(path))

    assert stored(opened(path, before)) == before


@pytest.mark.parametrize("suffix", GROWING)
def test_lines_at_the_end(
    suffix: str,
    write_rows: Callable[..., Path],
    encode: Callable[..., bytes],
    read_column: Callable[..., list[Any]],
) -> None:
    path = write_rows(f"rows{suffix}", ROWS)
    before = stored(opened(path))
    appended(path, encode, LATER)

    source = opened(path, before)

    assert read_column(source, start_row=100) == [row["text"] for row in LATER]
    assert stored(source) != before


def test_fragments_at_the_end(
    tmp_path: Path, write_rows: Callable[..., Path], read_column: Callable[..., list[Any]]
) -> None:

    path = write_rows("rows.lance", ROWS)
    before = stored(opened(path))
    lance.write_dataset(pa.Table.from_pylist(LATER), str(path), mode="append")

    assert len(read_column(opened(path, before), start_row=100)) == 10

    lance.dataset(str(path)).delete("id = 3")
    assert "changed, deleted or compacted" in refusal(path, before)


@pytest.mark.parametrize("suffix", FILES)
def test_files_at_the_end(
    suffix: str, write_rows: Callable[..., Path], read_column: Callable[..., list[Any]]
) -> None:
    folder = write_rows(f"in/a{suffix}", ROWS).parent
    before = stored(opened(folder))
    write_rows(f"in/b{suffix}", LATER)

    assert len(read_column(opened(folder, before), start_row=100)) == 10


def test_lines_and_files_at_the_end(
    write_rows: Callable[..., Path],
    encode: Callable[..., bytes],
    read_column: Callable[..., list[Any]],
) -> None:
    path = write_rows("in/b.jsonl", ROWS)
    before = stored(opened(path.parent))
    appended(path, encode, LATER)
    write_rows("in/c.jsonl", LATER)

    assert len(read_column(opened(path.parent, before), start_row=100)) == 20


def test_lines_at_the_end_of_a_file_before_others(
    write_rows: Callable[..., Path], encode: Callable[..., bytes]
) -> None:
    path = write_rows("in/a.jsonl", ROWS)
    write_rows("in/b.jsonl", ROWS)
    before = stored(opened(path.parent))
    appended(path, encode, LATER)

    assert f"{path} is not as it was when this job began: it has grown" in refusal(
        path.parent, before
    )


def test_file_between_others(write_rows: Callable[..., Path]) -> None:
    folder = write_rows("in/a.jsonl", ROWS).parent
    write_rows("in/c.jsonl", ROWS)
    before = stored(opened(folder))
    between = write_rows("in/b.jsonl", ROWS)

    assert f"{between} was not in the input when this job began, and comes before" in refusal(
        folder, before
    )


def test_file_that_is_gone(write_rows: Callable[..., Path]) -> None:
    folder = write_rows("in/a.jsonl", ROWS).parent
    gone = write_rows("in/b.jsonl", ROWS)
    before = stored(opened(folder))
    gone.unlink()

    assert f"{gone}, which this job reads, is not in the input any more" in refusal(folder, before)


def test_lines_that_are_gone(write_rows: Callable[..., Path]) -> None:
    path = write_rows("rows.jsonl", ROWS)
    before = stored(opened(path))
    write_rows("rows.jsonl", ROWS[:50])

    assert "it had 2,680 bytes and has 1,330" in refusal(path, before)


@pytest.mark.parametrize("place", [0, 1000, -2])
def test_a_byte_at_either_end(place: int, write_rows: Callable[..., Path]) -> None:
    path = write_rows("rows.txt", [{"text": "x" * 99}] * 5000)
    before = stored(opened(path))
    data = bytearray(path.read_bytes())
    data[place] = ord("y")
    path.write_bytes(data + b"grown\n")

    assert " are others" in refusal(path, before)


def test_file_written_anew(write_rows: Callable[..., Path]) -> None:
    path = write_rows("rows.txt", [{"text": "x" * 99}] * 5000)
    os.utime(path, (1_700_000_000.25, 1_700_000_000.25))
    before = stored(opened(path))
    data = bytearray(path.read_bytes())
    data[EDGE_BYTES * 2] = ord("y")
    path.write_bytes(data)

    message = refusal(path, before)
    assert "it was written anew" in message
    assert "`touch -d @1700000000.250`" in message

    os.utime(path, (1_700_000_000.25, 1_700_000_000.25))
    opened(path, before)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".arrows"])
def test_only_text_grows_in_place(suffix: str, write_rows: Callable[..., Path]) -> None:
    path = write_rows(f"rows{suffix}", ROWS)
    before = stored(opened(path))
    write_rows(f"rows{suffix}", ROWS * 2)

    assert str(path) in refusal(path, before)


def test_a_last_line_without_end_that_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    for more, is_refused in ((b" goes on\n", True), (b"\nnext\n", False), (b"\r\nnext", False)):
        path.write_bytes(b"first\nsecond")
        before = stored(opened(path))
        path.write_bytes(b"first\nsecond" + more)
        if is_refused:
            assert "its last line had no end, and goes on now" in refusal(path, before)
        else:
            opened(path, before)


def test_columns_are_those_of_the_beginning(
    write_rows: Callable[..., Path], encode: Callable[..., bytes]
) -> None:
    path = write_rows("rows.jsonl", ROWS)
    before = stored(opened(path))
    appended(path, encode, [{"text": "Later", "id": 0.5, "more": 1}])

    source = opened(path, before)

    assert source.schema == Source.open([str(write_rows("same.jsonl", ROWS))]).schema
    assert stored(source)[0]["columns"] == {"text": "string", "id": "int64"}


def test_another_format(write_rows: Callable[..., Path]) -> None:
    path = write_rows("rows.jsonl", ROWS)
    data = path.rename(path.with_name("rows"))
    before = stored(Source.open([str(data)], format="jsonl"))

    with pytest.raises(InputChangedError, match="its format was jsonl and is txt"):
        Source.open([str(data)], format="txt", before=before)


def test_standard_input(encode: Callable[..., bytes]) -> None:
    data = encode(ROWS, ".jsonl")
    before = stored(Source.open(["-"], stdin=io.BytesIO(data)))

    Source.open(["-"], stdin=io.BytesIO(data), before=before)
    Source.open(["-"], stdin=io.BytesIO(data + data), before=before)
    with pytest.raises(InputChangedError, match="begins with other bytes"):
        Source.open(["-"], stdin=io.BytesIO(data[30:]), before=before)


def test_file_system_by_url(encode: Callable[..., bytes]) -> None:
    url = "memory://fingerprints/rows.jsonl"
    with fsspec.open(url, "wb") as file:
        file.write(encode(ROWS, ".jsonl"))
    before = stored(opened(url))
    opened(url, before)
    with fsspec.open(url, "wb") as file:
        file.write(encode(ROWS + LATER, ".jsonl"))
    opened(url, before)
    with fsspec.open(url, "wb") as file:
        file.write(encode(LATER + ROWS, ".jsonl"))

    assert url.replace("//", "///") in refusal(url, before)
