"""Parts: what a resumed job finds, and disks that are full."""

import errno
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from headrace_client.bulk.output.answered import AnsweredRows
from headrace_client.bulk.output.destination import Destination
from headrace_client.bulk.output.ending import Ending
from headrace_client.bulk.output.errors import (
    DiskFullError,
    ModelChangedError,
    OutputError,
    PartsBrokenError,
)
from headrace_client.bulk.output.files import Files, FileSink
from headrace_client.bulk.output.layout import Layout, OutFormat
from headrace_client.bulk.output.parts import Part, PartWriter
from tests.unit.client.bulk.output.small_job import (
    Checkpoint,
    layout_of,
    rows_of,
    run_job,
    tree,
    vectors_of,
)

FORMATS = list(OutFormat)


def two_parts(state: Path, out_format: OutFormat) -> tuple[PartWriter, list[Part]]:
    writer = PartWriter(layout_of(out_format), state)
    writer.recover([])
    writer.write(rows_of(range(10), failing=[2]))
    writer.finish_part()
    writer.write(rows_of(range(10, 20)))
    writer.finish_part()
    return writer, writer.parts


@pytest.mark.parametrize("out_format", FORMATS)
def test_a_part_says_what_is_in_it(out_format: OutFormat, tmp_path: Path) -> None:
    _, parts = two_parts(tmp_path, out_format)

    kept = 10 if out_format is OutFormat.NPY else 9
    assert [part.rows for part in parts] == [kept, 10]
    assert [(part.first_row, part.end_row) for part in parts] == [(0, 10), (10, 20)]
    assert [part.failed_rows for part in parts] == [1, 0]
    assert [Part.from_json(part.to_json()) for part in parts] == parts


@pytest.mark.parametrize("out_format", FORMATS)
def test_what_the_checkpoint_does_not_name_is_deleted(
    out_format: OutFormat, tmp_path: Path
) -> None:
    writer, parts = two_parts(tmp_path, out_format)
    writer.write(rows_of(range(20, 30), failing=[20]))
    writer.abandon()
    before = tree(tmp_path)

    resumed = PartWriter(layout_of(out_format), tmp_path)
    resumed.recover(parts[:1])

    assert sorted(tree(tmp_path)) == [
        name for name in sorted(before) if name.startswith("parts/part-000001.")
    ]
    assert resumed.dimensions == 8
    resumed.write(rows_of(range(10, 20)))
    assert resumed.finish_part() == parts[1]


@pytest.mark.parametrize("out_format", FORMATS)
@pytest.mark.parametrize("damage", ["missing", "shorter", "other bytes"])
def test_a_broken_part_is_an_error_that_says_what_to_do(
    out_format: OutFormat, damage: str, tmp_path: Path
) -> None:
    _, parts = two_parts(tmp_path, out_format)
    (path,) = (tmp_path / "parts").glob("part-000002.*")
    content = path.read_bytes()
    match damage:
        case "missing":
            path.unlink()
        case "shorter":
            path.write_bytes(content[:-1])
        case "other bytes":
            path.write_bytes(bytes(len(content)))

    with pytest.raises(PartsBrokenError, match=r"part-000002.*(copy|anew)"):
        PartWriter(layout_of(out_format), tmp_path).recover(parts)


def test_a_part_is_due_by_rows_and_by_bytes_and_failed_ones_count(tmp_path: Path) -> None:
    for number, changes in enumerate(({"part_rows": 10}, {"part_bytes": 400, "part_rows": 999})):
        writer = PartWriter(layout_of(OutFormat.PARQUET, **changes), tmp_path / str(number))
        writer.recover([])
        due = [writer.is_due]
        for numbers in (range(4), range(4, 10)):
            writer.write(rows_of(numbers, failing=numbers))
            due.append(writer.is_due)
        part = writer.finish_part()
        due.append(writer.is_due)
        assert due == [False, number == 1, True, False]
        assert part is not None
        assert (part.rows, part.size_bytes, part.failed_rows) == (0, 0, 10)
        assert writer.finish_part() is None


def test_a_model_that_changes_is_noticed_after_a_resume_too(tmp_path: Path) -> None:
    _, parts = two_parts(tmp_path, OutFormat.PARQUET)
    writer = PartWriter(layout_of(OutFormat.PARQUET), tmp_path)
    writer.recover(parts)
    rows = rows_of([20])
    longer = AnsweredRows(
        row_numbers=rows.row_numbers, columns=rows.columns, vectors=np.ones((1, 9), np.float32)
    )

    with pytest.raises(ModelChangedError, match=r"row 20 .* 9 components"):
        writer.write(longer)


def test_columns_that_differ_are_named(tmp_path: Path) -> None:
    writer = PartWriter(layout_of(OutFormat.PARQUET), tmp_path)
    writer.recover([])
    other = pa.record_batch({"id": ["seven"], "text": ["t"]})
    rows = AnsweredRows(row_numbers=np.arange(1), columns=other, vectors=vectors_of([0]))

    with pytest.raises(OutputError, match="column 'id' is string in some rows and int64"):
        writer.write(rows)
    missing = AnsweredRows(
        row_numbers=np.arange(1), columns=other.select(["text"]), vectors=vectors_of([0])
    )
    with pytest.raises(OutputError, match="without the column 'id'"):
        writer.write(missing)
    writer.abandon()


class SmallDisk(Files):
    """Has room for so many bytes."""

    def __init__(self, room: int) -> None:
        self.room = room

    def create(self, path: Path) -> FileSink:
        return _SmallSink(path, self)

    def free_bytes(self, path: Path) -> int:
        return max(0, self.room)


class _SmallSink(FileSink):
    def __init__(self, path: Path, disk: SmallDisk) -> None:
        super().__init__(path, truncate=True)
        self._disk = disk

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        self._disk.room -= len(data)
        if self._disk.room < 0:
            super().write_at(offset, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write_at(offset, data)

    def copy(self, source: Path, offset: int = 0) -> None:
        self.write(source.read_bytes()[offset:])


def attempt(
    layout: Layout, destination: Destination, checkpoint: Checkpoint, files: Files
) -> str | None:
    """What the full disk's error says; ``None`` where the job ended."""
    try:
        run_job(layout, destination, range(60), failing=[5], checkpoint=checkpoint, files=files)
    except DiskFullError as error:
        return str(error)
    return None


@pytest.mark.parametrize("out_format", FORMATS)
def test_a_full_disk_loses_nothing(out_format: OutFormat, tmp_path: Path) -> None:
    layout = layout_of(out_format)
    (tmp_path / "roomy").mkdir()
    roomy = Destination.of(f"{tmp_path}/roomy/out.{out_format}")
    run_job(layout, roomy, range(60), failing=[5])
    full = Destination.of(f"{tmp_path}/out.{out_format}")
    checkpoint = Checkpoint()
    failures = 0

    for room in range(500, 40_000, 1_500):
        outcome = attempt(layout, full, checkpoint, SmallDisk(room))
        if outcome is None:
            break
        failures += 1
        assert "same command again" in outcome
        assert not Path(full.out).exists()

    assert failures > 1
    assert checkpoint.ended
    if out_format is not OutFormat.LANCE:
        assert tree(Path(full.out)) == tree(Path(roomy.out))
    assert Path(full.failed).read_bytes() == Path(roomy.failed).read_bytes()


def test_a_full_disk_says_how_much_is_needed(tmp_path: Path) -> None:
    writer = PartWriter(
        layout_of(OutFormat.JSONL), tmp_path, rows_expected=1_000, files=SmallDisk(2_000)
    )
    writer.recover([])
    writer.write(rows_of(range(10)))
    writer.finish_part()
    writer.write(rows_of(range(10, 30)))

    with pytest.raises(DiskFullError, match=r"the job needs some \d+\.\d KiB more"):
        writer.finish_part()
    writer.abandon()


def test_the_end_on_a_full_disk_leaves_no_pieces(tmp_path: Path) -> None:
    destination = Destination.of(str(tmp_path / "out.jsonl"))
    layout = layout_of(OutFormat.JSONL)
    _, parts = two_parts(destination.state_directory, OutFormat.JSONL)

    with pytest.raises(DiskFullError, match=r"\d KiB are needed"):
        Ending(layout, destination, files=SmallDisk(300)).finish(parts)

    assert [each.name for each in tmp_path.iterdir()] == ["out.jsonl.headrace"]
    assert Ending(layout, destination).finish(parts).rows == 19
