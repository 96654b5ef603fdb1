from pathlib import Path

import pytest
from filelock import FileLock

from serve_models.weights.receipts import Receipt, mark_files, receipt_file, write_receipt
from serve_models.weights.references import parse_source
from serve_models.weights.superseded import find_superseded, remove_superseded
from tests.checkpoints import read_files, safetensors, sharded, write_files

SOURCE = parse_source("s3://bucket/m")


def pulled(cache: Path, text: str, directory: str) -> None:
    receipt = Receipt(
        source=text,
        revision=directory,
        directory=directory,
        files=mark_files(cache / directory, list(read_files(cache / directory))),
    )
    write_receipt(receipt_file(cache, parse_source(text), "weights", with_code=False), receipt)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Two revisions of one source, an unfinished one, and a source that was never finished."""
    folder = f"objects/{SOURCE.folder_name}"
    for revision in ("1", "2", "3.partial"):
        write_files(tmp_path / folder / revision, sharded())
    write_files(tmp_path / "objects" / "never-finished" / "1.partial", sharded())
    pulled(tmp_path, SOURCE.text, f"{folder}/2")
    return tmp_path


def test_what_a_later_pull_replaced_is_found_and_removed(cache: Path) -> None:
    found = find_superseded(cache)

    assert [each.directory.name for each in found] == ["1", "3.partial"]
    assert {each.size_bytes for each in found} == {sum(map(len, sharded().values()))}
    assert remove_superseded(cache, found) == found
    assert find_superseded(cache) == []
    assert (cache / "objects" / SOURCE.folder_name / "2" / "config.json").is_file()
    assert (cache / "objects" / "never-finished" / "1.partial" / "config.json").is_file()


def test_a_source_that_is_being_pulled_is_left_alone(cache: Path) -> None:
    (cache / "locks").mkdir()
    with FileLock(cache / "locks" / f"{SOURCE.folder_name}.lock"):
        assert remove_superseded(cache, find_superseded(cache)) == []
    assert len(find_superseded(cache)) == 2


def test_a_hubs_snapshots_share_files_and_only_the_others_go(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    repository = tmp_path / "hub" / "models--org--m"
    blobs = write_files(repository / "blobs", {"both": safetensors(), "old": b"{}", "new": b"{ }"})
    for commit, config in (("c1", "old"), ("c2", "new")):
        snapshot = repository / "snapshots" / commit
        snapshot.mkdir(parents=True)
        (snapshot / "model.safetensors").symlink_to(blobs / "both")
        (snapshot / "config.json").symlink_to(blobs / config)
    # Of another program, or an earlier release: nothing says that it is replaced.
    assert find_superseded(tmp_path) == []
    pulled(tmp_path, "hub:org/m", "hub/models--org--m/snapshots/c2")

    found = find_superseded(tmp_path)

    assert [(each.directory.name, each.size_bytes) for each in found] == [("c1", 2)]
    # A pull of any revision holds this, as it may link to files of the others.
    with FileLock(tmp_path / "locks" / f"{parse_source('hub:org/m@c3').lock_name}.lock"):
        assert remove_superseded(tmp_path, found) == []
    remove_superseded(tmp_path, found)
    assert set(read_files(blobs)) == {"both", "new"}
    assert len(read_files(repository / "snapshots" / "c2")) == 2


def test_an_empty_cache_has_nothing_to_remove(tmp_path: Path) -> None:
    assert find_superseded(tmp_path / "none") == []
