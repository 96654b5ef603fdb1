"""What is wrong with a whole file is said before anything is sent, with the file's name."""

import gzip
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace_client.bulk.rows.errors import InputError
from headrace_client.bulk.rows.source import Source

ROWS = [{"text": f"Text {n}", "id": n} for n in range(100)]


def refusal(*paths: str | Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        Source.open([str(path) for path in paths], **options)
    return str(caught.value)


@pytest.mark.parametrize(
    "suffix", [".jsonl", ".csv", ".tsv", ".txt", ".parquet", ".arrow", ".jsonl.gz", ".csv.zst"]
)
def test_empty_file(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows{suffix}"
    path.touch()

    assert refusal(path) == f"{path} is empty (0 bytes): leave it out, or write it again"


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv"])
def test_blank_file(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(b"\n  \n")

    assert f"{path} " in refusal(path)


def test_columns_without_rows(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,id\n")
    pq.write_table(pa.table({"text": pa.array([], "string")}), tmp_path / "rows.parquet")

    for name in ("rows.csv", "rows.parquet"):
        assert refusal(tmp_path / name) == f"the input has no rows: {tmp_path / name}"


def test_empty_part_among_others(
    write_rows: Callable[..., Path], read_column: Callable[..., list[Any]], tmp_path: Path
) -> None:
    write_rows("in/a.parquet", ROWS)
    pq.write_table(pa.table({"text": ["x"], "id": [1]}).slice(1), tmp_path / "in" / "b.parquet")

    assert len(read_column(Source.open([str(tmp_path / "in")]))) == 100


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".feather"])
@pytest.mark.parametrize("kept", [0.2, 0.5, 0.99])
def test_file_cut_short(suffix: str, kept: float, write_rows: Callable[..., Path]) -> None:
    path = write_rows(f"rows{suffix}", ROWS)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])

    message = refusal(path)

    assert str(path) in message
    assert "cut short" in message
    assert "write it again" in message


def test_parquet_with_a_broken_footer(write_rows: Callable[..., Path]) -> None:
    path = write_rows("rows.parquet", ROWS)
    data = bytearray(path.read_bytes())
    data[-100:-20] = b"\xff" * 80
    path.write_bytes(data)

    assert f"{path}: its end cannot be read" in refusal(path)


def test_parquet_with_a_broken_page(write_rows: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    texts = [f"Text {n}" for n in range(1000)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=500, use_dictionary=False)
    offset = pq.read_metadata(path).row_group(1).column(0).data_page_offset
    data = bytearray(path.read_bytes())
    data[offset : offset + 40] = b"\xff" * 40
    path.write_bytes(data)
    batches = Source.open([str(path)]).select(needed=["text"]).batches()

    assert len(next(batches)) == 500
    with pytest.raises(InputError, match="row group 1 cannot be read"):
        list(batches)


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst"])
def test_compressed_file_cut_short_keeps_what_came_before(
    suffix: str, write_rows: Callable[..., Path]
) -> None:
    path = write_rows(f"rows{suffix}", [{"text": f"{n:0100}"} for n in range(50_000)])
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 9 // 10])
    batches = Source.open([str(path)]).select(needed=["text"]).batches()

    ends: list[int] = []
    with pytest.raises(InputError, match=r"cannot be read from line \d+ on.*cut short"):
        ends.extend(rows.end_row for rows in batches)
    assert 20_000 < ends[-1] < 50_000


@pytest.mark.parametrize(
    ("holds", "named"),
    [
        (".parquet", "rows.jsonl"),
        (".parquet", "rows.csv"),
        (".jsonl", "rows.parquet"),
        (".parquet", "rows.arrow"),
        (".arrow", "rows.parquet"),
        (".jsonl", "rows.csv"),
        (".csv", "rows.jsonl"),
        (".jsonl", "rows.jsonl.gz"),
        (".jsonl.gz", "rows.jsonl"),
        (".jsonl.zst", "rows.jsonl.gz"),
        (".arrow", "rows.txt"),
    ],
)
def test_file_that_is_not_what_its_name_says(
    holds: str, named: str, encode: Callable[..., bytes], tmp_path: Path
) -> None:
    path = tmp_path / named
    path.write_bytes(encode(ROWS, holds))

    message = refusal(path)

    assert str(path) in message
    assert any(each in message for each in ("is not", "does not say"))


def test_zero_bytes_are_no_text(tmp_path: Path) -> None:
    for name in ("rows.txt", "rows.csv"):
        (tmp_path / name).write_bytes(b"some\0bytes\n" * 3)
        assert "is not text" in refusal(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        (b'[{"text": "a"}]', "jq -c '.[]'"),
        (b'{\n  "text": "a"\n}\n', "jq -c ."),
        (b"just some words\n", "is not JSONL"),
    ],
)
def test_json_that_is_no_jsonl(content: bytes, advice: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)

    assert advice in refusal(path)


def test_utf_32(tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    path.write_text("Text\n", encoding="utf-32")

    assert "UTF-32: write it as UTF-8" in refusal(path)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".csv", ".lance"])
def test_folder_with_files_of_two_schemas(
    suffix: str, write_rows: Callable[..., Path], tmp_path: Path
) -> None:
    first = write_rows(f"in/a{suffix}", ROWS)
    second = write_rows(f"in/b{suffix}", [{"text": "x", "other": 1}])

    message = refusal(tmp_path / "in")

    assert f"{first} and {second} have different columns: 'id'" in message


def test_two_types_of_one_column(write_rows: Callable[..., Path], tmp_path: Path) -> None:
    first = write_rows("in/a.parquet", [{"text": "a", "id": 1}])
    second = write_rows("in/b.parquet", [{"text": "a", "id": "1"}])

    assert (
        f"{first} and {second} have different columns: 'id' is int64 in the first and string"
        in refusal(tmp_path / "in")
    )


def test_jsonl_of_two_kinds(write_rows: Callable[..., Path], tmp_path: Path) -> None:
    write_rows("in/a.jsonl", [{"text": "a"}])
    write_rows("in/b.jsonl", [{"question": "a"}])

    assert "have no column in common" in refusal(tmp_path / "in")


def test_jsonl_with_two_types_of_a_column(write_rows: Callable[..., Path], tmp_path: Path) -> None:
    write_rows("in/a.jsonl", [{"text": "a", "id": 1}])
    write_rows("in/b.jsonl", [{"text": "a", "id": "1"}])

    assert "--column-type id=string" in refusal(tmp_path / "in")
    assert (
        Source.open([str(tmp_path / "in")], column_types={"id": "string"}).schema.field("id").type
        == pa.string()
    )


def test_jsonl_file_without_the_needed_column(
    write_rows: Callable[..., Path], tmp_path: Path
) -> None:
    write_rows("in/a.jsonl", [{"text": "a", "id": 1}])
    second = write_rows("in/b.jsonl", [{"id": 2}])
    source = Source.open([str(tmp_path / "in")])

    with pytest.raises(InputError, match=f"{second} has no column 'text'"):
        source.select(needed=["text"])


def test_missing_column_lists_the_columns(write_rows: Callable[..., Path]) -> None:
    source = Source.open([str(write_rows("rows.jsonl", ROWS))])

    with pytest.raises(InputError, match="no column 'title': the input has text, id"):
        source.select(needed=["title"])
    with pytest.raises(InputError, match="no column 'title'"):
        source.select(needed=["text"], carried=["title"])


def test_files_of_two_formats(write_rows: Callable[..., Path], tmp_path: Path) -> None:
    write_rows("in/a.jsonl", ROWS)
    write_rows("in/b.csv", ROWS)

    assert "is jsonl and" in refusal(tmp_path / "in")


@pytest.mark.parametrize("header", [b"text,text\n1,2\n", b'"text\nfoo\n'])
def test_csv_header_that_names_no_columns(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(header)

    assert f"{path}: its first line" in refusal(path)


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)

    assert "two columns named 'text'" in refusal(path)


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    assert refusal(tmp_path / "no.jsonl") == f"{tmp_path / 'no.jsonl'}: there is no such file"
    assert "matches no input file" in refusal(tmp_path / "*.jsonl")
    assert "holds no input file" in refusal(tmp_path / "empty")
    assert "memory://" in refusal("memory://nothing/here.jsonl")


def test_unknown_names_and_formats(tmp_path: Path) -> None:
    path = tmp_path / "rows.xlsx"
    path.write_bytes(b"PK\x03\x04")

    assert "name its format by --format (jsonl, csv, tsv" in refusal(path)
    assert "is not jsonl" in refusal(path, format="jsonl")
    assert "there is no format 'xlsx'" in refusal(path, format="xlsx")
    assert "nosuch" in refusal("nosuch://bucket/rows.jsonl")


def test_whole_parquet_file_compressed(tmp_path: Path, encode: Callable[..., bytes]) -> None:
    path = tmp_path / "rows.parquet.gz"
    path.write_bytes(gzip.compress(encode(ROWS, ".parquet")))

    assert "gunzip" in refusal(path)


def test_file_named_twice(write_rows: Callable[..., Path], tmp_path: Path) -> None:
    path = write_rows("rows.jsonl", ROWS)

    assert refusal(path, tmp_path / "*.jsonl") == (
        f"{path} is named twice: name it once, or mend the glob"
    )


def test_standard_input(encode: Callable[..., bytes], tmp_path: Path) -> None:
    parquet = io.BytesIO(encode(ROWS, ".parquet"))
    arrow_file = io.BytesIO(encode(ROWS, ".arrow"))

    assert "read from its end" in refusal("-", format="parquet", stdin=parquet)
    assert "read from its end" in refusal("-", format="arrow", stdin=arrow_file)
    assert "standard input is empty" in refusal("-", stdin=io.BytesIO())
    assert "by itself" in refusal("-", tmp_path, stdin=io.BytesIO(b"{}\n"))


def test_standard_input_is_read_once(encode: Callable[..., bytes]) -> None:
    source = Source.open(["-"], stdin=io.BytesIO(encode(ROWS, ".jsonl"))).select(needed=["text"])
    list(source.batches())

    with pytest.raises(InputError, match="only once"):
        list(source.batches())


def test_types_that_there_are_not(write_rows: Callable[..., Path]) -> None:
    assert "no type 'float'" in refusal(write_rows("a.jsonl", ROWS), column_types={"id": "float"})
    assert "types of its own" in refusal(
        write_rows("a.parquet", ROWS), column_types={"id": "double"}
    )
    assert "no column 'no'" in refusal(write_rows("a.csv", ROWS), column_types={"no": "double"})


def test_lance_without_the_package(
    write_rows: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_rows("rows.lance", ROWS)
    monkeypatch.setitem(sys.modules, "lance", None)

    assert "pip install 'headrace-client[lance]'" in refusal(path)


def test_lance_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "rows.lance").mkdir()

    assert "is no Lance dataset" in refusal(tmp_path / "rows.lance")


def test_fewer_rows_than_were_read(write_rows: Callable[..., Path]) -> None:
    source = Source.open([str(write_rows("rows.jsonl", ROWS))]).select(needed=["text"])

    with pytest.raises(InputError, match="the input has 100 rows, and this job has read 101"):
        list(source.batches(101))
