"""What was written is what a reader of each format finds."""

import base64
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lance
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from headrace_client.bulk.output.answered import AnsweredRows, Failure
from headrace_client.bulk.output.destination import Destination
from headrace_client.bulk.output.ending import Ending
from headrace_client.bulk.output.failed import read_failed
from headrace_client.bulk.output.formats import columnar
from headrace_client.bulk.output.layout import (
    BodyAnswers,
    Layout,
    OutFormat,
    VectorAnswers,
    VectorDtype,
)
from headrace_client.bulk.output.parts import PartWriter
from tests.unit.client.bulk.output.small_job import (
    CARRIED,
    FAILURE,
    layout_of,
    rows_of,
    run_job,
    vectors_of,
)

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("text", pa.string()),
        ("blob", pa.large_binary()),
        ("at", pa.timestamp("us")),
        ("price", pa.decimal128(10, 2)),
        ("flag", pa.bool_()),
        ("tags", pa.list_(pa.string())),
        ("meta", pa.struct([("x", pa.int32()), ("y", pa.list_(pa.float32(), 2))])),
        ("counts", pa.map_(pa.string(), pa.int64())),
    ]
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ROW = st.fixed_dictionaries(
    {
        "id": st.integers(-(1 << 63), (1 << 63) - 1),
        "text": st.none() | TEXT,
        "blob": st.none() | st.binary(max_size=40),
        "at": st.none() | st.datetimes(),
        "price": st.none() | st.decimals(-9999, 9999, places=2),
        "flag": st.none() | st.booleans(),
        "tags": st.none() | st.lists(st.none() | TEXT, max_size=3),
        "meta": st.none()
        | st.fixed_dictionaries(
            {
                "x": st.none() | st.integers(-5, 5),
                "y": st.none() | st.lists(st.floats(width=32), min_size=2, max_size=2),
            }
        ),
        "counts": st.none() | st.lists(st.tuples(TEXT, st.integers(0, 9)), max_size=2),
    }
)


def write(layout: Layout, folder: Path, batches: list[AnsweredRows], part_every: int) -> Path:
    out = folder / f"out.{layout.format}"
    destination = Destination.of(str(out))
    writer = PartWriter(layout, destination.state_directory)
    writer.recover([])
    for number, batch in enumerate(batches, start=1):
        writer.write(batch)
        if number % part_every == 0:
            writer.finish_part()
    writer.finish_part()
    ending = Ending(layout, destination)
    ending.finish(writer.parts)
    ending.clean()
    return out


def batches_of(
    rows: list[dict[str, Any]], failing: set[int], dtype: VectorDtype, batch_rows: int
) -> list[AnsweredRows]:
    table = pa.RecordBatch.from_pylist(rows, SCHEMA)
    batches = []
    for start in range(0, len(rows), batch_rows):
        columns = table.slice(start, batch_rows)
        numbers = np.arange(start, start + columns.num_rows)
        batches.append(
            AnsweredRows(
                row_numbers=numbers,
                columns=columns,
                vectors=vectors_of(numbers.tolist(), dtype),
                failures={at: FAILURE for at, row in enumerate(numbers) if int(row) in failing},
            )
        )
    return batches


def read_columns(out: Path) -> pa.Table:
    match out.suffix:
        case ".parquet":
            return pq.read_table(out)
        case ".lance":
            return lance.dataset(str(out)).to_table()
    with pa.memory_map(str(out)) as source:
        return pa.ipc.open_file(source).read_all()


@settings(max_examples=60, deadline=None)
@given(
    out_format=st.sampled_from([OutFormat.PARQUET, OutFormat.ARROW, OutFormat.LANCE]),
    rows=st.lists(ROW, min_size=1, max_size=25),
    failing=st.sets(st.integers(0, 24), max_size=5),
    dtype=st.sampled_from(VectorDtype),
    batch_rows=st.integers(1, 9),
    group_bytes=st.sampled_from([1, 200, 1 << 20]),
)
def test_columns_of_all_types_come_back(
    out_format: OutFormat,
    rows: list[dict[str, Any]],
    failing: set[int],
    dtype: VectorDtype,
    batch_rows: int,
    group_bytes: int,
) -> None:
    carried = SCHEMA
    if out_format is OutFormat.LANCE:  # it has no maps
        carried = SCHEMA.remove(SCHEMA.get_field_index("counts"))
    layout = Layout(
        format=out_format,
        answers=VectorAnswers(dtype=dtype),
        carried=carried,
        row_group_bytes=group_bytes,
    )
    kept = [at for at in range(len(rows)) if at not in failing]

    with TemporaryDirectory() as folder:
        out = write(layout, Path(folder), batches_of(rows, failing, dtype, batch_rows), 2)
        table = read_columns(out)

    expected = pa.Table.from_pylist([rows[at] for at in kept], SCHEMA).select(carried.names)
    if kept:
        vector = table.schema.field("embedding").type
        assert (vector.list_size, vector.value_type) == (8, pa.from_numpy_dtype(dtype.numpy))
        found = np.array(table["embedding"].to_pylist(), dtype.numpy)
        np.testing.assert_array_equal(found, vectors_of(kept, dtype))
    assert str(table.select(carried.names).to_pylist()) == str(expected.to_pylist())


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(ROW, min_size=1, max_size=15),
    failing=st.sets(st.integers(0, 14), max_size=5),
    dtype=st.sampled_from(VectorDtype),
)
def test_lines_of_json_come_back(
    rows: list[dict[str, Any]], failing: set[int], dtype: VectorDtype
) -> None:
    layout = Layout(format=OutFormat.JSONL, answers=VectorAnswers(dtype=dtype), carried=SCHEMA)

    with TemporaryDirectory() as folder:
        out = write(layout, Path(folder), batches_of(rows, failing, dtype, 4), 2)
        lines = [orjson.loads(line) for line in out.read_bytes().splitlines()]

    kept = [at for at in range(len(rows)) if at not in failing]
    assert [line["id"] for line in lines] == [rows[at]["id"] for at in kept]
    assert [line["text"] for line in lines] == [rows[at]["text"] for at in kept]
    blobs = [rows[at]["blob"] for at in kept]
    assert [line["blob"] for line in lines] == [
        None if blob is None else base64.b64encode(blob).decode() for blob in blobs
    ]
    prices = [None if line["price"] is None else Decimal(line["price"]) for line in lines]
    assert prices == [rows[at]["price"] for at in kept]
    if kept:
        found = np.array([line["embedding"] for line in lines]).astype(dtype.numpy)
        np.testing.assert_array_equal(found, vectors_of(kept, dtype))


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(1, 40),
    failing=st.sets(st.integers(0, 39)),
    dtype=st.sampled_from(VectorDtype),
    part_every=st.integers(1, 3),
)
def test_npy_has_a_row_for_every_row_and_maps_into_memory(
    count: int, failing: set[int], dtype: VectorDtype, part_every: int
) -> None:
    layout = Layout(format=OutFormat.NPY, answers=VectorAnswers(dtype=dtype), carried=SCHEMA)
    answers = VectorAnswers(dtype=dtype)
    batches = [
        rows_of(range(start, min(count, start + 7)), tuple(failing), answers)
        for start in range(0, count, 7)
    ]

    with TemporaryDirectory() as folder:
        out = write(layout, Path(folder), batches, part_every)
        mapped: NDArray[Any] = np.load(out, mmap_mode="r", allow_pickle=False)
        failed_file = out.with_name("out.npy.failed.jsonl")
        failed = [row.row for row in read_failed(failed_file)] if failed_file.exists() else []

    assert (len(mapped), mapped.dtype) == (count, dtype.numpy)
    assert failed == sorted(failing & set(range(count)))
    if len(failed) == count:
        assert mapped.shape == (count, 0)
        return
    expected = vectors_of(range(count), dtype)
    expected[failed] = np.nan if dtype.is_float else 0
    np.testing.assert_array_equal(mapped, expected)


def test_batch_lines_are_those_of_openai(tmp_path: Path) -> None:
    answers = BodyAnswers(job="job-7")
    layout = Layout(format=OutFormat.JSONL, answers=answers)
    rows = rows_of([5, 6, 9], failing=[6], answers=answers)
    bodies = [b'{"a":1}', b"", b'{\n"a": "\xc3\xa9"}']
    rows = AnsweredRows(
        row_numbers=rows.row_numbers,
        columns=rows.columns.select([]),
        bodies=bodies,
        custom_ids=rows.custom_ids,
        failures=rows.failures,
        inputs=rows.columns,
    )

    out = write(layout, tmp_path, [rows], 1)

    first, second = out.read_text().splitlines()
    assert first == (
        '{"id":"job-7-5","custom_id":"mine-5","response":{"status_code":200,'
        '"request_id":"job-7-5","body":{"a":1}},"error":null}'
    )
    assert second == (
        '{"id":"job-7-9","custom_id":"mine-9","response":{"status_code":200,'
        '"request_id":"job-7-9","body":{"a":"é"}},"error":null}'
    )
    (failed,) = read_failed(tmp_path / "out.jsonl.failed.jsonl")
    assert (failed.row, failed.columns) == (6, {"id": 6, "text": "row 6 é"})


def test_bodies_are_a_column_of_json(tmp_path: Path) -> None:
    answers = BodyAnswers(job="j")
    layout = Layout(format=OutFormat.PARQUET, answers=answers, carried=CARRIED)

    out = write(layout, tmp_path, [rows_of([0, 1, 2], [1], answers)], 1)

    assert pq.read_table(out).to_pylist() == [
        {"id": 0, "text": "row 0 é", "response": '{"answer":"to 0"}'},
        {"id": 2, "text": "row 2 é", "response": '{"answer":"to 2"}'},
    ]


@pytest.mark.parametrize("out_format", [OutFormat.PARQUET, OutFormat.ARROW, OutFormat.JSONL])
@pytest.mark.parametrize("chunk_bytes", [300, 1 << 20])
def test_out_does_not_depend_on_how_rows_came(
    out_format: OutFormat, chunk_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columnar, "CHUNK_BYTES", chunk_bytes)
    layout = layout_of(out_format, carried=SCHEMA)
    rows: list[dict[str, Any]] = [
        {
            "id": number,
            "text": "x" * (number * 7 % 90) if number % 3 else None,
            "tags": ["a", None, "é" * (number % 5)] if number % 4 else None,
            "meta": {"x": None, "y": [1.5, float(number)]} if number % 5 else None,
            "counts": [("k", number)] if number % 2 else None,
        }
        for number in range(100)
    ]
    written = []
    for batch_rows, part_every in ((100, 1), (1, 3), (7, 5)):
        folder = tmp_path / f"{batch_rows}"
        folder.mkdir()
        batches = batches_of(rows, {50}, VectorDtype.FLOAT32, batch_rows)
        written.append(write(layout, folder, batches, part_every).read_bytes())

    assert written[0] == written[1] == written[2]


def test_row_groups_are_bounded_by_bytes_and_a_large_row_is_its_own(tmp_path: Path) -> None:
    layout = Layout(
        format=OutFormat.PARQUET, answers=VectorAnswers(), carried=CARRIED, row_group_bytes=5_000
    )
    texts = ["a" * 1_000] * 12 + ["b" * 9_000] + ["c"]
    columns = pa.RecordBatch.from_pydict({"id": range(14), "text": texts}, CARRIED)
    rows = AnsweredRows(row_numbers=np.arange(14), columns=columns, vectors=vectors_of(range(14)))

    metadata = pq.read_metadata(write(layout, tmp_path, [rows], 1))

    counts = [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)]
    assert counts == [4, 4, 4, 1, 1]


def test_bytes_are_not_blown_up_in_parquet(tmp_path: Path) -> None:
    dtype = VectorDtype.INT8
    layout = Layout(format=OutFormat.PARQUET, answers=VectorAnswers(dtype=dtype))
    vectors = np.random.default_rng(0).integers(-127, 128, (2_000, 384)).astype(np.int8)
    rows = AnsweredRows(
        row_numbers=np.arange(2_000),
        columns=pa.RecordBatch.from_pylist([{}] * 2_000, pa.schema([])),
        vectors=vectors,
    )

    out = write(layout, tmp_path, [rows], 1)

    assert out.stat().st_size < 1.1 * vectors.nbytes


def test_times_that_python_cannot_hold_are_text_in_json(tmp_path: Path) -> None:
    schema = pa.schema([("at", pa.timestamp("ns")), ("n", pa.float64())])
    layout = Layout(format=OutFormat.JSONL, answers=VectorAnswers(), carried=schema)
    batch = pa.record_batch(
        [pa.array([1], pa.timestamp("ns")), pa.array([float("nan")])], schema=schema
    )
    rows = AnsweredRows(row_numbers=np.arange(1), columns=batch, vectors=vectors_of([0]))

    (line,) = write(layout, tmp_path, [rows], 1).read_bytes().splitlines()

    assert orjson.loads(line)["at"] == "1970-01-01 00:00:00.000000001"
    assert orjson.loads(line)["n"] is None


def test_a_failure_may_bring_its_own_columns(tmp_path: Path) -> None:
    failure = Failure("invalid_line", "not JSON", retryable=False, columns={"line": "{"})
    rows = rows_of([0, 1])
    rows = AnsweredRows(
        row_numbers=rows.row_numbers,
        columns=rows.columns,
        vectors=rows.vectors,
        failures={1: failure},
    )

    write(layout_of(OutFormat.JSONL), tmp_path, [rows], 1)

    (failed,) = read_failed(tmp_path / "out.jsonl.failed.jsonl")
    assert (failed.code, failed.retryable, failed.columns) == ("invalid_line", False, {"line": "{"})


def test_all_failed_first_and_mended_later(tmp_path: Path) -> None:
    for out_format in OutFormat:
        layout = layout_of(out_format)
        destination = Destination.of(str(tmp_path / f"out.{out_format}"))
        run_job(layout, destination, range(30), failing=range(30))
        finished = run_job(layout, destination, range(30), failing=[3], retries=True)
        assert finished is not None
        assert finished.failed_rows == 1
        assert finished.rows == (30 if out_format is OutFormat.NPY else 29)
