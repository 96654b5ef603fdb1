"""What is wrong with one row fails that row, and no other."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace_client.bulk.rows.errors import RowFailure
from headrace_client.bulk.rows.source import Source
from headrace_client.bulk.rows.text import lines
from headrace_client.bulk.rows.texts import TextColumn


def read(
    path: Path, carried: Sequence[str] = (), **options: Any
) -> tuple[list[bytes], dict[int, RowFailure]]:
    """Payloads, and failures as (code, message, place), of all rows."""
    source = Source.open([str(path)], **options)
    column = TextColumn(source.schema, "text", max_text_bytes=1000)
    payloads: list[bytes] = []
    failures: dict[int, RowFailure] = {}
    for rows in source.select(needed=["text"], carried=carried).batches():
        rendered = column.render(rows)
        payloads += rendered.payloads
        failures |= rendered.failures
    return payloads, failures


def test_jsonl(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        b'{"text": "good"}\n'
        b'{"id": 1}\n'
        b'{"text": null}\n'
        b'{"text": 7}\n'
        b'{"text": true}\n'
        b'{"text": ["a"]}\n'
        b'{"text": ""}\n'
        b'{"text": " \\t\\u00a0"}\n'
        b'{"text": "\xff"}\n'
        b'{"text": "half\n'
        b'"bare"\n'
        b"[1]\n"
        b'{"text": NaN}\n'
        b'{"text": "\\ud800"}\n'
        b'{"text": "' + b"x" * 1001 + b'"}\n'
        b'{"text": "good too"}'
    )

    payloads, failures = read(path)

    assert payloads == [b'"good"', *[b""] * 14, b'"good too"']
    assert [failures[row].code for row in range(1, 15)] == [
        "column_missing", "null", "not_text", "not_text", "not_text", "empty", "empty",
        "invalid_utf8", "invalid_json", "invalid_json", "invalid_json", "invalid_json",
        "invalid_json", "too_large",
    ]  # fmt: skip
    assert [failures[row].place for row in (1, 14)] == [f"{path}, line 2", f"{path}, line 15"]
    assert failures[1].message == "has no column 'text'"
    assert failures[2].message == "column 'text' is null"
    assert failures[3].message == (
        "column 'text' is a number (7); use --template \"{text}\" to send it as text"
    )
    assert failures[6].message == "column 'text' is empty or blank"
    assert failures[8].message == "byte 11 of the line is not UTF-8: invalid start byte"
    assert failures[9].message.startswith("is not JSON: ")
    assert (
        failures[10].message == 'is the bare value "bare", not a JSON object with columns as '
        "its keys"
    )
    assert failures[14].message == (
        "has 1,001 bytes as JSON, and 1,000 are allowed (--max-text-bytes); shorten it, or let "
        "--truncate-text cut it"
    )


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_csv(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows{suffix}"
    content = (
        b"id,text\n1,good\n2\n3,a,b\n4,\n5,\xff\n"
        b'6,"quoted" twice\n7,' + b"x" * 1001 + b"\n8,good too\n"
    )
    path.write_bytes(content.replace(b",", b"\t") if suffix == ".tsv" else content)

    payloads, failures = read(path)

    assert payloads == [b'"good"', *[b""] * 6, b'"good too"']
    assert [failures[row].code for row in range(1, 7)] == [
        "invalid_csv", "invalid_csv", "empty", "invalid_utf8", "invalid_csv", "too_large",
    ]  # fmt: skip
    assert failures[1].place == f"{path}, line 3"
    assert "has 1 fields, and the first line names 2 columns" in failures[1].message
    assert "byte 3 of line 6 is not UTF-8" in failures[4].message


def test_text_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    path.write_bytes(b"good\r\n\n \n\xff\ngood too")

    payloads, failures = read(path)

    assert payloads == [b'"good"', b"", b"", b"", b'"good too"']
    assert [failures[row].code for row in (1, 2, 3)] == ["empty", "empty", "invalid_utf8"]
    assert failures[3].place == f"{path}, line 4"


def test_parquet_with_bytes_that_are_no_text(tmp_path: Path) -> None:
    data = pa.array([b"good", b"\xff", None, b"good too"], pa.binary())
    invalid = pa.StringArray.from_buffers(
        4, data.buffers()[1], data.buffers()[2], data.buffers()[0]
    )
    for name, column in (("binary", data), ("string", invalid)):
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({"text": column}), path)

        payloads, failures = read(path)

        assert payloads == [b'"good"', b"", b"", b'"good too"']
        assert failures[1].message == "column 'text': byte 1 is not UTF-8: invalid start byte"
        assert failures[2].code == "null"


def test_a_carried_value_that_does_not_fit_its_column(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"text": "a", "n": 1}\n' * 30_000 + b'{"text": "a", "n": 1.5}\n')

    _, failures = read(path, carried=["n"])

    assert list(failures) == [30_000]
    assert failures[30_000].code == "not_carried"
    assert "column 'n' is 1.5 here, and int64 at the beginning" in failures[30_000].message
    assert not read(path)[1]
    assert not read(path, carried=["n"], column_types={"n": "double"})[1]


def test_a_line_over_what_memory_may_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The limit is a default, so that no test needs 64 MiB.
    defaults = lines.read_blocks.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "max_line_bytes", 5000)
    for name, good in (("jsonl", b'{"text": "good"}'), ("txt", b"good")):
        path = tmp_path / f"rows.{name}"
        long = b'{"text": "' + b"x" * 3_000_000 + b'"}'
        path.write_bytes(good + b"\n" + long + b"\n" + good + b"\n")

        payloads, failures = read(path)

        assert payloads == [b'"good"', b"", b'"good"']
        assert failures[1].code == "too_large"
        assert failures[1].place == f"{path}, line 2"


def test_a_csv_field_that_never_ends_takes_only_lines_up_to_the_next_quote(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b'id,text\n1,"never ends\n2,b\n3,"c"\n4,d\n')

    payloads, failures = read(path)

    assert payloads[-1] == b'"d"'
    assert [failure.code for failure in failures.values()] == ["invalid_csv"]
    assert "look at its quotes" in failures[0].message


def test_csv_types(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,n,x,b\na,1,0.5,true\nb,,,\nc,one,0.5,false\n")
    source = Source.open([str(path)], column_types={"n": "int64", "x": "double", "b": "bool"})
    (rows,) = source.select(needed=["text"]).batches()

    assert rows.carried.to_pydict() == {
        "text": ["a", "b", "c"],
        "n": [1, None, None],
        "x": [0.5, None, 0.5],
        "b": [True, None, False],
    }
    assert list(rows.failures) == [2]
    assert "column 'n' is 'one' here, and no int64" in rows.failures[2].message
