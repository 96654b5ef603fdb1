import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_models.weights.fetching import transfers
from serve_models.weights.fetching.request import Unwatched
from serve_models.weights.fetching.transfers import (
    RemoteFile,
    arrive,
    copy_files,
    partial_directory,
)
from serve_models.weights.references import ModelSourceError
from tests.checkpoints import read_files

PIECE = 10


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "PIECE_BYTES", PIECE)


class Store:
    """Files by name, and the ranges that were read; ``fails`` raises for some."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.ranges: list[tuple[str, int, int]] = []
        self.fails: Callable[[str, int], bool] = lambda _name, _start: False
        self._lock = threading.Lock()

    def read(self, name: str, start: int, end: int) -> bytes:
        with self._lock:
            self.ranges.append((name, start, end))
            if self.fails(name, start):
                raise ConnectionError("the store is away")
        return self.files[name][start:end]

    @property
    def remote(self) -> dict[str, RemoteFile]:
        return {
            f"dir/{name}": RemoteFile(
                name, len(content), ("sha256", hashlib.sha256(content).hexdigest())
            )
            for name, content in self.files.items()
        }


class Counted(Unwatched):
    def __init__(self) -> None:
        self.came_bytes = 0
        self._lock = threading.Lock()

    def advance(self, count_bytes: int) -> None:
        with self._lock:
            self.came_bytes += count_bytes


def test_files_arrive_whole_and_at_once(tmp_path: Path) -> None:
    store = Store({"a": b"x" * 95, "b": b"", "c": b"y" * 10})
    progress = Counted()

    marks, fetched = copy_files(store.remote, store.read, tmp_path / "model", progress)

    assert not (tmp_path / "model").exists()
    arrive(tmp_path / "model")
    assert read_files(tmp_path / "model") == {
        f"dir/{name}": content for name, content in store.files.items()
    }
    assert fetched == progress.came_bytes == 105
    assert marks["dir/a"].sha256 == hashlib.sha256(b"x" * 95).hexdigest()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@settings(max_examples=30, deadline=None)
@given(
    contents=st.lists(st.binary(max_size=80), min_size=1, max_size=4),
    breaks=st.lists(st.integers(0, 12), max_size=3),
)
def test_whatever_interrupts_a_copy_it_goes_on_and_ends_the_same(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes], breaks: list[int]
) -> None:
    store = Store({str(number): content for number, content in enumerate(contents)})
    directory = tmp_path_factory.mktemp("copy") / "model"
    for limit in breaks:
        reads = iter(range(limit))
        store.fails = partial(_is_used_up, reads)
        with suppress(ModelSourceError):
            copy_files(store.remote, store.read, directory, Unwatched(), lambda _s: None)
        assert not directory.exists()
    here_bytes = sum(map(len, read_files(partial_directory(directory)).values()))
    store.fails, store.ranges = lambda _name, _start: False, []

    _, fetched = copy_files(store.remote, store.read, directory, Unwatched())

    # What had come is not read again.
    assert fetched == sum(end - start for _, start, end in store.ranges)
    assert fetched == sum(map(len, contents)) - here_bytes
    arrive(directory)
    assert read_files(directory) == {
        f"dir/{number}": content for number, content in enumerate(contents)
    }


def test_a_store_that_falters_is_asked_again_after_longer_and_longer_pauses(tmp_path: Path) -> None:
    store = Store({"a": b"x" * 5})
    failures = iter([True] * 3)
    store.fails = lambda _name, _start: next(failures, False)
    pauses: list[float] = []

    copy_files(store.remote, store.read, tmp_path / "model", Unwatched(), pauses.append)

    assert pauses == [0.5, 1.0, 2.0]


def test_a_short_answer_is_a_failure(tmp_path: Path) -> None:
    store = Store({"a": b"x" * 5})
    answers = iter([b"xx", b"xxxxx"])

    copy_files(
        store.remote, lambda *_range: next(answers), tmp_path / "m", Unwatched(), lambda _s: None
    )

    assert read_files(partial_directory(tmp_path / "m")) == {"dir/a": b"xxxxx"}


def test_a_wrong_checksum_is_an_error_and_the_file_comes_anew(tmp_path: Path) -> None:
    store = Store({"a": b"x" * 25})
    remote = store.remote
    store.files["a"] = b"y" * 25

    with pytest.raises(ModelSourceError, match="another sha256"):
        copy_files(remote, store.read, tmp_path / "m", Unwatched())
    store.files["a"] = b"x" * 25
    _, fetched = copy_files(remote, store.read, tmp_path / "m", Unwatched())

    assert fetched == 25


def test_a_file_that_another_writer_lengthened_is_not_taken(tmp_path: Path) -> None:
    store = Store({"a": b"x" * 15})
    target = partial_directory(tmp_path / "m") / "dir" / "a"

    def read(name: str, start: int, end: int) -> bytes:
        if start:
            with target.open("ab") as other:
                other.write(b"intruder")
        return store.read(name, start, end)

    with pytest.raises(ModelSourceError, match="another process"):
        copy_files(store.remote, read, tmp_path / "m", Unwatched())


@pytest.mark.parametrize("path", ["../out", "/etc/passwd", "a/../../out", "."])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(ModelSourceError, match="leads out"):
        copy_files({path: RemoteFile("a", 1)}, lambda *_range: b"x", tmp_path / "m", Unwatched())
    assert not (tmp_path / "out").exists()


def test_one_failure_ends_the_others(tmp_path: Path) -> None:
    store = Store({str(number): b"x" * 500 for number in range(8)})
    store.fails = lambda name, _start: name == "3"

    with pytest.raises(ModelSourceError, match="could not be read"):
        copy_files(store.remote, store.read, tmp_path / "m", Unwatched(), lambda _s: None)


def test_what_replaces_a_copy_leaves_no_other_behind(tmp_path: Path) -> None:
    for content in (b"old", b"new"):
        store = Store({"a": content})
        copy_files(store.remote, store.read, tmp_path / "m", Unwatched())
        arrive(tmp_path / "m")

    assert read_files(tmp_path) == {"m/dir/a": b"new"}


def _is_used_up(reads: Iterator[int], _name: str, _start: int) -> bool:
    return next(reads, None) is None
