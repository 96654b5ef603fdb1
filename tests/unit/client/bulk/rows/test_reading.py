import io
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace_client.bulk.rows.source import Source

ROWS = [{"text": f'Text {n}, "so": größer', "id": n} for n in range(100)]
TEXTS = [row["text"] for row in ROWS]
TEXT_SUFFIXES = [
    f"{each}{compression}"
    for each in (".jsonl", ".csv", ".tsv", ".txt")
    for compression in ("", ".gz", ".zst")
]
STREAMED = [*TEXT_SUFFIXES, ".arrows"]
FILES = [*STREAMED, ".parquet", ".arrow", ".feather"]
STARTS = [0, 1, 6, 7, 8, 49, 50, 51, 99, 100]


@pytest.mark.parametrize("suffix", [*FILES, ".lance"])
def test_file(
    suffix: str, write_rows: Callable[..., Path], read_column: Callable[..., list[Any]]
) -> None:
    path = write_rows(f"rows{suffix}", ROWS)

    assert read_column(Source.open([str(path)])) == TEXTS


@pytest.mark.parametrize("suffix", [*FILES, ".lance"])
def test_reading_begins_at_any_row(
    suffix: str, write_rows: Callable[..., Path], read_column: Callable[..., list[Any]]
) -> None:
    write_rows(f"in/a{suffix}", ROWS[:50])
    path = write_rows(f"in/b{suffix}", ROWS[50:])
    source = Source.open([str(path.parent)])

    for start in STARTS:
        assert read_column(source, start_row=start) == TEXTS[start:], start


@pytest.mark.parametrize(
    "suffix", [each for each in [*FILES, ".lance"] if not each.startswith(".txt")]
)
def test_carried_columns_are_those_of_the_rows(
    suffix: str, write_rows: Callable[..., Path]
) -> None:
    path = write_rows(f"rows{suffix}", ROWS)
    source = Source.open([str(path)]).select(needed=["text"], carried=["id"])

    ids = [each for rows in source.batches(20) for each in rows.carried.column("id").to_pylist()]

    is_text = suffix.startswith((".csv", ".tsv"))
    assert ids == [str(n) if is_text else n for n in range(20, 100)]
    assert source.schema.names == ["id"]


@pytest.mark.parametrize("suffix", FILES)
def test_glob(
    suffix: str,
    write_rows: Callable[..., Path],
    read_column: Callable[..., list[Any]],
    tmp_path: Path,
) -> None:
    write_rows(f"a{suffix}", ROWS[:50])
    write_rows(f"b{suffix}", ROWS[50:])
    write_rows("other.jsonl", ROWS)

    assert read_column(Source.open([str(tmp_path / f"[ab]{suffix}")])) == TEXTS


@pytest.mark.parametrize("suffix", [*FILES, ".lance"])
def test_folder_with_folders_in_it(
    suffix: str,
    write_rows: Callable[..., Path],
    read_column: Callable[..., list[Any]],
    tmp_path: Path,
) -> None:
    write_rows(f"in/2025/a{suffix}", ROWS[:30])
    write_rows(f"in/2026/a{suffix}", ROWS[30:60])
    write_rows(f"in/z{suffix}", ROWS[60:])
    (tmp_path / "in" / "_SUCCESS").touch()
    (tmp_path / "in" / ".part.crc").write_bytes(b"crc")

    assert read_column(Source.open([str(tmp_path / "in")])) == TEXTS


@pytest.mark.parametrize("suffix", FILES)
def test_file_system_by_url(
    suffix: str, encode: Callable[..., bytes], read_column: Callable[..., list[Any]]
) -> None:
    with fsspec.open(f"memory://{suffix}/a{suffix}", "wb") as file:
        file.write(encode(ROWS[:50], suffix))
    with fsspec.open(f"memory://{suffix}/b{suffix}", "wb") as file:
        file.write(encode(ROWS[50:], suffix))

    for name in (f"memory://{suffix}", f"memory://{suffix}/*{suffix}"):
        source = Source.open([name])
        assert read_column(source, start_row=49) == TEXTS[49:]
        assert source.paths == [f"memory:///{suffix}/{each}{suffix}" for each in "ab"]


@pytest.mark.parametrize("suffix", STREAMED)
def test_standard_input(
    suffix: str, encode: Callable[..., bytes], read_column: Callable[..., list[Any]]
) -> None:
    class Trickle(io.BytesIO):
        """A pipe gives what there is."""

        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size, 11) if size and size > 0 else size)

    kind = {"arrows": "arrow"}.get(suffix.split(".")[1], suffix.split(".")[1])
    source = Source.open(["-"], format=kind, stdin=Trickle(encode(ROWS, suffix)))

    assert source.rows_total is None
    assert source.bytes_total is None
    assert read_column(source, start_row=3) == TEXTS[3:]
    assert source.rows_total == 100


def test_standard_input_is_jsonl_by_default(
    encode: Callable[..., bytes], read_column: Callable[..., list[Any]]
) -> None:
    source = Source.open(["-"], stdin=io.BytesIO(encode(ROWS, ".jsonl")))

    assert read_column(source) == TEXTS


def test_several_paths_in_their_order(
    write_rows: Callable[..., Path], read_column: Callable[..., list[Any]]
) -> None:
    late, early = write_rows("b.jsonl", ROWS[:50]), write_rows("a.jsonl", ROWS[50:])

    assert read_column(Source.open([str(late), str(early)])) == TEXTS


def test_format_is_named_where_the_name_does_not_say(
    write_rows: Callable[..., Path], read_column: Callable[..., list[Any]]
) -> None:
    path = write_rows("rows.jsonl.gz", ROWS)
    export = path.rename(path.with_name("export"))

    assert read_column(Source.open([str(export)], format="jsonl")) == TEXTS


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".feather", ".lance"])
def test_rows_are_counted_by_metadata(suffix: str, write_rows: Callable[..., Path]) -> None:
    write_rows(f"in/a{suffix}", ROWS[:50])
    path = write_rows(f"in/b{suffix}", ROWS[50:])

    assert Source.open([str(path.parent)]).rows_total == 100


@pytest.mark.parametrize("suffix", FILES)
def test_bytes_read_grow_to_the_total(suffix: str, write_rows: Callable[..., Path]) -> None:
    write_rows(f"in/a{suffix}", ROWS[:50])
    path = write_rows(f"in/b{suffix}", ROWS[50:])
    source = Source.open([str(path.parent)]).select(needed=["text"])

    read = [rows.bytes_read for rows in source.batches()]

    assert all(before <= after for before, after in pairwise(read))
    assert source.bytes_total == sum(map(_size, path.parent.iterdir()))
    # The mark at the end of an Arrow stream is after the last row.
    assert source.bytes_total - read[-1] <= (8 if suffix == ".arrows" else 0)


def _size(path: Path) -> int:
    return path.stat().st_size


@pytest.mark.parametrize(
    ("suffix", "place"), [(".jsonl", "line 2"), (".csv", "line 3"), (".parquet", "row 1")]
)
def test_a_row_says_where_it_is(suffix: str, place: str, write_rows: Callable[..., Path]) -> None:
    write_rows(f"in/a{suffix}", ROWS[:50])
    path = write_rows(f"in/b{suffix}", ROWS[50:])
    rows = next(Source.open([str(path.parent)]).select(needed=["text"]).batches(50))

    assert rows.place(51) == f"{path}, {place}"


def test_semicolons_between_columns(tmp_path: Path, read_column: Callable[..., list[Any]]) -> None:
    path = tmp_path / "excel.csv"
    path.write_bytes(b"\xef\xbb\xbfid;text\r\n1;Eins, zwei\r\n2;Drei\r\n")

    assert read_column(Source.open([str(path)])) == ["Eins, zwei", "Drei"]


def test_a_field_of_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b'id,text\n1,"One\nand ""two"""\n2,Three\n')
    (rows,) = Source.open([str(path)]).select(needed=["text"]).batches()

    assert rows.values("text") == ['One\nand "two"', "Three"]
    assert rows.place(1) == f"{path}, line 4"


def test_blank_lines_of_jsonl_are_no_rows(
    tmp_path: Path, read_column: Callable[..., list[Any]]
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\n{"text": "a"}\n  \n\r\n{"text": "b"}\r\n\n')
    source = Source.open([str(path)])

    assert read_column(source) == ["a", "b"]
    assert read_column(source, start_row=1) == ["b"]


def test_dictionaries_of_two_files_are_one_column(
    tmp_path: Path, read_column: Callable[..., list[Any]]
) -> None:
    for name, kind in (("a", pa.int8()), ("b", pa.int32())):
        column = pa.array([name, "x", None]).dictionary_encode().cast(pa.dictionary(kind, "string"))
        pq.write_table(pa.table({"text": column}), tmp_path / f"{name}.parquet")

    assert read_column(Source.open([str(tmp_path)])) == ["a", "x", None, "b", "x", None]


def test_only_some_rows_of_a_row_group_too_large_for_a_batch(tmp_path: Path) -> None:
    path = tmp_path / "long.parquet"
    pq.write_table(pa.table({"text": [f"{n:04}" + "x" * 100_000 for n in range(200)]}), path)
    source = Source.open([str(path)]).select(needed=["text"], carried=[])

    lengths = [len(rows) for rows in source.batches(150)]

    assert sum(lengths) == 50
    assert max(lengths) <= 50
    (first, *_) = source.batches(150)
    assert first.values("text")[0].startswith("0150")


def test_long_texts_that_a_dictionary_makes_small_are_read_few_at_a_time(tmp_path: Path) -> None:
    texts = pa.array(["x" * 500_000, "y" * 500_000]).take(pa.array([0, 1] * 500))
    pq.write_table(pa.table({"text": texts}), tmp_path / "rows.parquet")
    assert (tmp_path / "rows.parquet").stat().st_size < 1_000_000
    source = Source.open([str(tmp_path)]).select(needed=["text"])

    rows = next(source.batches(990))

    assert len(rows) <= 8
    assert rows.carried.nbytes < 5_000_000
