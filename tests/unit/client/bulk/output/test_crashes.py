"""The process is killed, or the power fails, at any operation: OUT is the same in the end."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import lance
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace_client.bulk.output.destination import Destination
from headrace_client.bulk.output.layout import BodyAnswers, Layout, OutFormat
from tests.unit.client.bulk.output.dying_files import DyingFiles, Killed
from tests.unit.client.bulk.output.small_job import Checkpoint, layout_of, run_job, tree

FAILING = (0, 3, 4, 30, 59)
FAILING_AGAIN = (3, 59)
ROWS = range(60)


def out_in(folder: Path, out_format: OutFormat, *, as_directory: bool) -> Destination:
    return Destination.of(f"{folder}/out.{out_format}" + "/" * as_directory)


def content(destination: Destination) -> object:
    """What a reader finds: files' bytes, of Lance its rows; ``None`` where nothing is."""
    out = Path(destination.out)
    if not out.exists():
        return None
    if out.suffix == ".lance":
        return lance.dataset(str(out)).to_table().to_pylist()
    return tree(out)


def failed_of(destination: Destination) -> bytes | None:
    path = Path(destination.failed)
    return path.read_bytes() if path.exists() else None


@dataclass(frozen=True)
class Case:
    """A job, the first run or a retry, in a folder of its own for each try."""

    layout: Layout
    as_directory: bool
    power_fails: bool
    retries: bool

    def begin(self, folder: Path) -> Destination:
        """What is there before the run: nothing, or an ended job with failed rows."""
        folder.mkdir()
        destination = out_in(folder, self.layout.format, as_directory=self.as_directory)
        if self.retries:
            run_job(self.layout, destination, ROWS, failing=FAILING, files=DyingFiles(folder))
        return destination

    def run(self, destination: Destination, checkpoint: Checkpoint, files: DyingFiles) -> None:
        run_job(
            self.layout,
            destination,
            FAILING if self.retries else ROWS,
            failing=FAILING_AGAIN if self.retries else FAILING,
            checkpoint=checkpoint,
            files=files,
            retries=self.retries,
        )

    def undisturbed(self, folder: Path) -> "Undisturbed":
        destination = self.begin(folder)
        before = content(destination)
        files = DyingFiles(folder)
        self.run(destination, Checkpoint(), files)
        return Undisturbed(before, content(destination), failed_of(destination), files.operations)

    def check_deaths(self, folder: Path, deaths: Iterator[int], expected: "Undisturbed") -> None:
        destination = self.begin(folder)
        checkpoint = Checkpoint()
        while True:
            files = DyingFiles(folder, next(deaths, None))
            try:
                self.run(destination, checkpoint, files)
                break
            except Killed:
                if self.power_fails:
                    files.power_fails()
                assert content(destination) in (None, expected.before, expected.out)
        assert content(destination) == expected.out
        assert failed_of(destination) == expected.failed
        assert not list(folder.glob(".*")), "temporary files are left"
        assert not (destination.state_directory / "parts").exists()


@dataclass(frozen=True)
class Undisturbed:
    before: object
    out: object
    failed: bytes | None
    operations: int


@pytest.mark.parametrize("retries", [False, True], ids=["first", "retry"])
@pytest.mark.parametrize("power_fails", [False, True], ids=["killed", "power"])
@pytest.mark.parametrize(
    ("out_format", "as_directory"),
    [(OutFormat.JSONL, False), (OutFormat.NPY, False), (OutFormat.JSONL, True)],
)
def test_one_death_at_every_operation(
    out_format: OutFormat, as_directory: bool, power_fails: bool, retries: bool, tmp_path: Path
) -> None:
    case = Case(layout_of(out_format), as_directory, power_fails, retries)
    expected = case.undisturbed(tmp_path / "undisturbed")

    for dies_at in range(1, expected.operations + 1):
        folder = tmp_path / str(dies_at)
        case.check_deaths(folder, iter([dies_at]), expected)
        shutil.rmtree(folder)


@settings(max_examples=40, deadline=None)
@given(
    out_format=st.sampled_from(OutFormat),
    as_directory=st.booleans(),
    power_fails=st.booleans(),
    retries=st.booleans(),
    in_order=st.booleans(),
    deaths=st.lists(st.integers(1, 120), max_size=6),
)
def test_several_deaths(
    out_format: OutFormat,
    as_directory: bool,
    power_fails: bool,
    retries: bool,
    in_order: bool,
    deaths: list[int],
) -> None:
    layout = layout_of(out_format, ordered=in_order or out_format is OutFormat.NPY)
    case = Case(layout, as_directory, power_fails, retries)
    with TemporaryDirectory() as folder:
        expected = case.undisturbed(Path(folder) / "undisturbed")
        case.check_deaths(Path(folder) / "killed", iter(deaths), expected)


@settings(max_examples=15, deadline=None)
@given(
    out_format=st.sampled_from([OutFormat.JSONL, OutFormat.PARQUET]),
    deaths=st.lists(st.integers(1, 60), max_size=5),
)
def test_response_bodies_survive_too(out_format: OutFormat, deaths: list[int]) -> None:
    layout = layout_of(out_format, answers=BodyAnswers(job="j"))
    case = Case(layout, as_directory=False, power_fails=False, retries=False)
    with TemporaryDirectory() as folder:
        expected = case.undisturbed(Path(folder) / "undisturbed")
        case.check_deaths(Path(folder) / "killed", iter(deaths), expected)
