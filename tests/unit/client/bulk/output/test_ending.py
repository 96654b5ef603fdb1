"""Where OUT goes, what may be there before, and failed rows that are tried again."""

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import fsspec
import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_client.bulk.output.answered import AnsweredRows
from headrace_client.bulk.output.destination import Destination
from headrace_client.bulk.output.ending import Ending
from headrace_client.bulk.output.ending.merging import Source, plan
from headrace_client.bulk.output.errors import ModelChangedError, OutputError, OutputUsageError
from headrace_client.bulk.output.failed import read_failed
from headrace_client.bulk.output.layout import (
    BodyAnswers,
    Layout,
    OutFormat,
    VectorAnswers,
    format_of,
)
from headrace_client.bulk.output.parts import PartWriter
from tests.unit.client.bulk.output.small_job import (
    Checkpoint,
    layout_of,
    rows_of,
    run_job,
    tree,
)


@pytest.fixture
def store() -> Iterator[Any]:
    """A remote store that can rename."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


@pytest.mark.parametrize("out_format", [OutFormat.PARQUET, OutFormat.JSONL, OutFormat.NPY])
def test_a_remote_out_is_the_same_as_a_local_one(
    out_format: OutFormat, tmp_path: Path, store: Any
) -> None:
    layout = layout_of(out_format)
    local = Destination.of(str(tmp_path / f"out.{out_format}"))
    remote = Destination.of(f"memory://bucket/some/out.{out_format}", tmp_path / "state")
    for destination in (local, remote):
        run_job(layout, destination, range(60), failing=[3, 4])
        run_job(layout, destination, [3, 4], failing=[4], retries=True)

    names = [f"/bucket/some/out.{out_format}", f"/bucket/some/out.{out_format}.failed.jsonl"]
    assert sorted(store.find("/bucket")) == names
    assert store.cat(names[0]) == Path(local.out).read_bytes()
    assert store.cat(names[1]) == Path(local.failed).read_bytes()
    assert tree(tmp_path / "state") == {}


def test_a_remote_directory_is_complete_with_its_marker(tmp_path: Path, store: Any) -> None:
    remote = Destination.of("memory://bucket/out/", tmp_path / "state")
    layout = layout_of(OutFormat.PARQUET)
    run_job(layout, remote, range(60), failing=[3])
    before = store.find("/bucket/out")
    run_job(layout, remote, [3], retries=True)

    assert "/bucket/out/_SUCCESS" in before
    parts = [name for name in store.find("/bucket/out") if name.endswith(".parquet")]
    tables = [pq.read_table(store.open(name)) for name in sorted(parts)]
    assert pa.concat_tables(tables)["id"].to_pylist() == list(range(60))


def test_a_remote_lance_dataset(tmp_path: Path, store: Any) -> None:
    remote = Destination.of("memory://bucket/out.lance", tmp_path / "state")
    run_job(layout_of(OutFormat.LANCE), remote, range(60), failing=[3])
    run_job(layout_of(OutFormat.LANCE), remote, [3], retries=True)

    store.get("/bucket/out.lance", str(tmp_path / "got.lance"), recursive=True)
    rows = lance.dataset(str(tmp_path / "got.lance")).to_table()
    assert rows["id"].to_pylist() == list(range(60))


@pytest.mark.parametrize("out_format", [OutFormat.PARQUET, OutFormat.LANCE])
def test_files_of_others_in_a_store_are_not_removed(
    out_format: OutFormat, tmp_path: Path, store: Any
) -> None:
    store.pipe_file("/bucket/data/thesis.tex", b"mine")
    remote = Destination.of("memory://bucket/data/", tmp_path / "state")

    with pytest.raises(OutputUsageError, match=r"holds 'thesis\.tex'"):
        Ending(layout_of(out_format), remote).check()
    with pytest.raises(OutputUsageError, match="replaces the whole directory"):
        run_job(layout_of(out_format), remote, range(9))

    assert store.find("/bucket") == ["/bucket/data/thesis.tex"]


def test_an_upload_that_broke_off_is_completed(
    tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for out in ("out/", "out.lance"):
        remote = Destination.of(f"memory://bucket/{out}", tmp_path / "state")
        layout = layout_of(OutFormat.LANCE if out == "out.lance" else OutFormat.JSONL)
        checkpoint = Checkpoint()
        put_file, left = type(store).put_file, [2]

        def put_two(*arguments: Any, put: Any = put_file, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise ConnectionError("gone")
            put(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(type(store), "put_file", put_two)
            with pytest.raises(OutputError, match="gone"):
                run_job(layout, remote, range(90), checkpoint=checkpoint)
        Ending(layout, remote).check()
        run_job(layout, remote, range(90), checkpoint=checkpoint)
        assert checkpoint.ended

    lines = b"".join(store.cat(name) for name in sorted(store.glob("/bucket/out/part-*")))
    assert lines.count(b"\n") == 90
    store.get("/bucket/out.lance", str(tmp_path / "got.lance"), recursive=True)
    assert lance.dataset(str(tmp_path / "got.lance")).count_rows() == 90


def test_a_store_that_refuses_keeps_the_end_for_the_next_run(
    tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = Destination.of("memory://bucket/out.jsonl", tmp_path / "state")
    checkpoint = Checkpoint()

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("no access")

    with monkeypatch.context() as patch:
        patch.setattr(type(store), "put_file", refuse)
        with pytest.raises(OutputError, match=r"no access.*same command again"):
            run_job(layout_of(OutFormat.JSONL), remote, range(9), checkpoint=checkpoint)
    finished = run_job(layout_of(OutFormat.JSONL), remote, range(9), checkpoint=checkpoint)

    assert finished is not None
    assert finished.rows == 9
    assert store.cat("/bucket/out.jsonl").count(b"\n") == 9


def test_a_remote_out_needs_a_state_directory() -> None:
    with pytest.raises(OutputUsageError, match="--state-dir"):
        Destination.of("s3://bucket/out.parquet")


def test_where_things_are(tmp_path: Path) -> None:
    destination = Destination.of(f"file://{tmp_path}/out/")
    assert (destination.out, destination.is_directory) == (f"{tmp_path}/out", True)
    assert destination.state_directory == tmp_path / "out.headrace"
    assert destination.failed == f"{tmp_path}/out.failed.jsonl"
    with pytest.raises(OutputUsageError, match="no place for a file"):
        Destination.of("-")


@pytest.mark.parametrize(
    ("out", "expected"),
    [("a.parquet", "parquet"), ("b/c.NPY", "npy"), ("s3://x/y.lance/", "lance")],
)
def test_the_format_by_the_suffix(out: str, expected: str) -> None:
    assert format_of(out) == expected


def test_no_format_has_the_suffix() -> None:
    with pytest.raises(OutputUsageError, match=r"\.parquet.*--output-format"):
        format_of("out.csv")


def test_layouts_that_cannot_be() -> None:
    with pytest.raises(OutputUsageError, match="vectors only"):
        Layout(format=OutFormat.NPY, answers=BodyAnswers(job="j"))
    with pytest.raises(OutputUsageError, match="--unordered"):
        layout_of(OutFormat.NPY, ordered=False)
    with pytest.raises(OutputUsageError, match="column 'text' already"):
        layout_of(OutFormat.PARQUET, answers=VectorAnswers(column="text"))
    with pytest.raises(OutputUsageError, match="several columns 'a'"):
        layout_of(OutFormat.JSONL, carried=pa.schema([("a", pa.int8()), ("a", pa.int8())]))


def test_files_of_others_are_not_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "thesis.tex").write_text("mine")
    layout = layout_of(OutFormat.PARQUET)

    with pytest.raises(OutputUsageError, match=r"holds 'thesis\.tex'"):
        Ending(layout, Destination.of(f"{folder}/")).check()
    with pytest.raises(OutputUsageError, match="is a directory"):
        Ending(layout, Destination.of(str(folder))).check()
    with pytest.raises(OutputUsageError, match="is a file"):
        Ending(layout, Destination.of(f"{folder}/thesis.tex/")).check()
    with pytest.raises(OutputUsageError, match=r"holds 'thesis\.tex'"):
        run_job(layout, Destination.of(f"{folder}/"), range(9))
    assert (folder / "thesis.tex").read_text() == "mine"


def test_an_old_out_and_its_failed_file_are_replaced(tmp_path: Path) -> None:
    for suffix in (".parquet", ".lance", "/"):
        destination = Destination.of(str(tmp_path / "out") + suffix)
        layout = layout_of(OutFormat.LANCE if suffix == ".lance" else OutFormat.PARQUET)
        run_job(layout, destination, range(30), failing=[1])
        assert Path(destination.failed).exists()
        run_job(layout, destination, range(9))
        assert not Path(destination.failed).exists()
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 9
    assert pq.read_table(tmp_path / "out").num_rows == 9
    assert lance.dataset(str(tmp_path / "out.lance")).count_rows() == 9


@pytest.mark.parametrize("out_format", list(OutFormat))
def test_nothing_in_gives_an_empty_out(out_format: OutFormat, tmp_path: Path) -> None:
    for slash in ("", "/"):
        destination = Destination.of(f"{tmp_path}/{out_format}{len(slash)}.{out_format}{slash}")
        finished = run_job(layout_of(out_format), destination, [])
        assert finished is not None
        assert (finished.rows, finished.failed_rows) == (0, 0)
        assert Path(destination.out).exists()


@given(
    st.lists(st.booleans(), max_size=30),
    st.lists(st.booleans(), min_size=40, max_size=40),
    st.integers(0, 31),
    st.integers(0, 31),
    st.integers(0, 5),
)
def test_mended_rows_take_their_places_and_new_ones_follow(
    failed: list[bool], failed_again: list[bool], start: int, end: int, grown: int
) -> None:
    rows, new = range(len(failed)), range(len(failed), len(failed) + grown)
    tried = range(start, new.stop if grown else end)
    failing = [row for row in rows if failed[row]]
    again = [row for row in (*failing, *new) if row in tried]
    still = [row for row in again if failed_again[row]]
    for keeps_failed in (False, True):
        out = iter([row for row in rows if keeps_failed or not failed[row]])
        mended = iter([row for row in again if keeps_failed or row not in still])
        sources = {Source.OUT: out, Source.NOWHERE: out, Source.MENDED: mended}
        merged = []
        for source, count in plan(failing, still, tried, keeps_failed=keeps_failed):
            taken = list(islice(sources[source], min(count, 99)))
            merged += taken if source is not Source.NOWHERE else []
        missing = {*still, *(row for row in failing if row not in tried)}
        expected = sorted({*rows, *again})
        assert merged == [row for row in expected if keeps_failed or row not in missing]


@pytest.mark.parametrize("out_format", list(OutFormat))
@pytest.mark.parametrize("failing", [(), (3, 40)])
def test_an_input_that_has_grown(
    out_format: OutFormat, failing: tuple[int, ...], tmp_path: Path
) -> None:
    layout = layout_of(out_format)
    destination = Destination.of(f"{tmp_path}/out.{out_format}")
    (tmp_path / "at once").mkdir()
    at_once = Destination.of(f"{tmp_path}/at once/out.{out_format}")
    run_job(layout, destination, range(60), failing=failing)
    again = [*failing, *range(60, 90)]
    finished = run_job(layout, destination, again, failing=(40, 77), retries=True)
    run_job(layout, at_once, range(90), failing=[row for row in (40, 77) if row in again])

    assert finished is not None
    assert Path(destination.failed).read_bytes() == Path(at_once.failed).read_bytes()
    if out_format is OutFormat.LANCE:
        tables = [lance.dataset(each.out).to_table() for each in (destination, at_once)]
        assert tables[0] == tables[1]
    else:
        assert tree(Path(destination.out)) == tree(Path(at_once.out))


@pytest.mark.parametrize("out_format", list(OutFormat))
def test_a_retry_that_was_not_finished_keeps_the_rest(
    out_format: OutFormat, tmp_path: Path
) -> None:
    destination = Destination.of(f"{tmp_path}/out.{out_format}")
    layout = layout_of(out_format)
    run_job(layout, destination, range(60), failing=[3, 30, 40, 59])

    finished = run_job(layout, destination, [3, 30], failing=[30], retries=True)

    assert finished is not None
    assert finished.failed_rows == 3
    assert [row.row for row in read_failed(Path(destination.failed))] == [30, 40, 59]


def test_a_retry_without_its_files(tmp_path: Path) -> None:
    destination = Destination.of(f"{tmp_path}/out.jsonl")
    run_job(layout_of(OutFormat.JSONL), destination, range(9), failing=[3])
    Path(destination.failed).unlink()

    with pytest.raises(OutputError, match="says which rows failed"):
        Ending(layout_of(OutFormat.JSONL), destination).failed_file()
    before = Path(destination.out).read_bytes()
    with pytest.raises(OutputError, match="row 3 was tried again"):
        run_job(layout_of(OutFormat.JSONL), destination, [3], retries=True)
    assert Path(destination.out).read_bytes() == before
    Path(destination.out).unlink()
    with pytest.raises(OutputError, match="is not there"):
        run_job(layout_of(OutFormat.JSONL), destination, [3], retries=True)


def test_a_retry_by_another_model(tmp_path: Path) -> None:
    for out_format in OutFormat:
        destination = Destination.of(f"{tmp_path}/out.{out_format}")
        layout = layout_of(out_format)
        run_job(layout, destination, range(9), failing=[3])
        writer = PartWriter(layout, destination.state_directory)
        writer.recover([])
        rows = rows_of([3])
        vectors = np.ones((1, 9), np.float32)
        writer.write(
            AnsweredRows(row_numbers=rows.row_numbers, columns=rows.columns, vectors=vectors)
        )
        writer.finish_part()

        with pytest.raises(ModelChangedError, match="9 components"):
            Ending(layout, destination).merge(writer.parts)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"row": 1}\n', "line 1 is not a line"),
        ("nonsense\n", "line 1 is not a line"),
        (
            '{"row":2,"code":"c","message":"m","retryable":true,"columns":{}}\n' * 2,
            "line 2 has row 2, after row 2",
        ),
    ],
)
def test_a_failed_file_that_was_edited(lines: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_text(lines)

    with pytest.raises(OutputError, match=message):
        list(read_failed(path))


def test_lance_is_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lance", None)

    with pytest.raises(OutputUsageError, match=r"pip install 'headrace-client\[lance\]'"):
        PartWriter(layout_of(OutFormat.LANCE), tmp_path)
