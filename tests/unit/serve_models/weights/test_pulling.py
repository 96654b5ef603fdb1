"""What a pull asks for and leaves; the sources themselves are stood in for."""

import threading
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from schemas.settings.sources import WeightSource
from serve_models.weights import pulling
from serve_models.weights.fetching.request import Fetched, Progress, Request, Unwatched, unchanged
from serve_models.weights.pulling import Pulled, pull
from serve_models.weights.receipts import Receipt, mark_files
from serve_models.weights.references import ModelSourceError, Source, parse_source
from serve_models.weights.sources import resolve
from tests.checkpoints import sharded, write_files

COMMIT = "0" * 40


class Hub:
    """A repository whose files can change, and that can be away."""

    def __init__(self) -> None:
        self.commit = "c1"
        self.files = sharded()
        self.is_away = False
        self.is_cut_off = False
        self.requests: list[Request] = []

    def fetch(
        self,
        source: Source,
        cache_dir: Path,
        request: Request,
        progress: Progress,
        known: Receipt | None,
    ) -> Fetched:
        self.requests.append(request)
        if self.is_away:
            raise ModelSourceError("source: the hub is away")
        if known is not None and known.revision == self.commit:
            return unchanged(known)
        directory = write_files(cache_dir / "hub" / self.commit, self.files)
        if self.is_cut_off:
            raise ModelSourceError("source: the network broke off")
        marks = mark_files(directory, list(self.files))
        return Fetched(f"hub/{self.commit}", self.commit, marks, sum(map(len, self.files.values())))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub()
    monkeypatch.setattr(pulling, "_FETCHES", dict.fromkeys(("hub", "s3", "gs", "oci"), hub.fetch))
    return hub


def test_a_pull_is_found_by_resolve_and_asked_for_once(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match="not on this machine"):
        resolve("s3://bucket/m", tmp_path)

    first, second = pull("s3://bucket/m", tmp_path), pull("s3://bucket/m/", tmp_path)

    assert (first.done, second.done) == ("fetched", "here")
    assert resolve("s3://bucket/m", tmp_path) == first.directory == second.directory
    assert first.size_bytes == sum(map(len, sharded().values()))
    assert first.files == len(sharded())
    assert second.fetched_bytes == 0


def test_a_source_that_moves_is_followed_and_only_missing_does_not_ask(
    hub: Hub, tmp_path: Path
) -> None:
    first = pull("hub:org/m", tmp_path)
    hub.commit = "c2"

    assert pull("hub:org/m", tmp_path, only_missing=True).directory == first.directory
    assert len(hub.requests) == 1
    moved = pull("hub:org/m", tmp_path)
    assert (moved.done, moved.revision) == ("fetched", "c2")
    assert resolve("hub:org/m", tmp_path) == moved.directory


@pytest.mark.parametrize("source", [f"hub:org/m@{COMMIT}", f"oci:r.example/m@sha256:{'0' * 64}"])
def test_what_cannot_change_is_not_asked_for_again(hub: Hub, tmp_path: Path, source: str) -> None:
    pull(source, tmp_path)
    hub.is_away = True

    assert pull(source, tmp_path).done == "here"
    assert len(hub.requests) == 1


def test_an_interrupted_pull_is_never_taken_for_complete(hub: Hub, tmp_path: Path) -> None:
    hub.is_cut_off = True
    with pytest.raises(ModelSourceError, match="broke off"):
        pull("hub:org/m", tmp_path)
    # All the files are there, and still nothing says that they are whole.
    assert (tmp_path / "hub" / "c1" / "config.json").is_file()
    with pytest.raises(ModelSourceError, match="not on this machine"):
        resolve("oci:r.example/m", tmp_path)


def test_a_new_version_that_breaks_off_leaves_the_old_one_in_use(hub: Hub, tmp_path: Path) -> None:
    old = pull("hub:org/m", tmp_path)
    hub.commit, hub.is_cut_off = "c2", True

    kept = pull("hub:org/m", tmp_path)

    assert (kept.done, kept.directory) == ("kept", old.directory)
    assert kept.why_kept == "the network broke off"
    assert resolve("hub:org/m", tmp_path) == old.directory


def test_a_source_that_is_away_keeps_nothing_that_was_never_here(hub: Hub, tmp_path: Path) -> None:
    hub.is_away = True
    with pytest.raises(ModelSourceError, match="the hub is away"):
        pull("hub:org/m", tmp_path, only_missing=True)


def test_a_damaged_copy_is_fetched_again(hub: Hub, tmp_path: Path) -> None:
    directory = pull("hub:org/m", tmp_path).directory
    (directory / "config.json").write_bytes(b"")

    with pytest.raises(ModelSourceError, match=r"config\.json has 0 of 2 bytes"):
        resolve("hub:org/m", tmp_path)
    assert pull("hub:org/m", tmp_path, only_missing=True).done == "fetched"
    assert resolve("hub:org/m", tmp_path) == directory


def test_force_fetches_again_and_says_when_it_cannot(hub: Hub, tmp_path: Path) -> None:
    pull("hub:org/m", tmp_path)
    assert pull("hub:org/m", tmp_path, is_forced=True).done == "fetched"
    assert hub.requests[-1].is_forced
    hub.is_away = True
    with pytest.raises(ModelSourceError, match="away"):
        pull("hub:org/m", tmp_path, is_forced=True)


def test_shards_that_never_came_are_an_error_and_leave_no_receipt(hub: Hub, tmp_path: Path) -> None:
    del hub.files["model-00002-of-00003.safetensors"]
    with pytest.raises(ModelSourceError, match="misses 1 of 3 shards"):
        pull("s3://bucket/m", tmp_path)
    with pytest.raises(ModelSourceError, match="not on this machine"):
        resolve("s3://bucket/m", tmp_path)


def test_code_weights_and_tokenizer_are_pulls_of_their_own(hub: Hub, tmp_path: Path) -> None:
    plain = WeightSource("source", "s3://bucket/m")
    wanted = [plain, plain._replace(trusts_code=True), plain._replace(part="tokenizer")]

    for each in wanted:
        with pytest.raises(ModelSourceError, match="not on this machine"):
            resolve(each, tmp_path)
        assert pull(each, tmp_path).done == "fetched"
    assert [(each.part, each.with_code) for each in hub.requests] == [
        ("weights", False),
        ("weights", True),
        ("tokenizer", False),
    ]


class Notes(Unwatched):
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.said = threading.Event()

    def note(self, line: str) -> None:
        self.lines.append(line)
        self.said.set()


def test_one_process_fetches_and_the_others_wait_and_find_it(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "_POLL_S", 0.01)
    locks = tmp_path / "locks"
    locks.mkdir()
    notes = Notes()
    done: list[Pulled] = []
    other = FileLock(locks / f"{parse_source('hub:org/m').lock_name}.lock")
    with other:
        waiting = threading.Thread(
            target=lambda: done.append(pull("hub:org/m", tmp_path, progress=notes))
        )
        waiting.start()
        assert notes.said.wait(30)
        assert done == []
    waiting.join(30)

    assert notes.lines == ["another process fetches it: waiting"]
    assert done[0].done == "fetched"


def test_a_cache_without_locks_is_used_without(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoLock:
        def __init__(self, *_: object) -> None:
            pass

        def acquire(self, **_: object) -> None:
            raise NotImplementedError("FileSystem does not appear to support flock")

    no_lock: Any = NoLock
    monkeypatch.setattr(pulling, "FileLock", no_lock)
    assert pull("hub:org/m", tmp_path).done == "fetched"


def test_a_directory_is_where_it_is(tmp_path: Path) -> None:
    directory = write_files(tmp_path / "m", sharded())

    pulled = pull(f"path:{directory}", tmp_path / "cache")

    assert (pulled.directory, pulled.done, pulled.files) == (directory, "here", len(sharded()))
    assert not (tmp_path / "cache").exists()
