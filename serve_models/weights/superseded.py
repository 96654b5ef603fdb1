"""Finds and removes revisions in the cache that a later pull of the same source has replaced.

What has no receipt beside a revision that has one is superseded, an unfinished pull of another
revision included. A source without any receipt is left alone: it may be on its way, or the copy of
another program.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from serve_models.weights.receipts import read_receipt

_SHARED = ("objects", "images")
"""Folders with a folder for each source, which has one for each revision."""
_HUB = "hub"


class Superseded(NamedTuple):
    """A revision that no receipt names.

    Attributes:
        source: The folder of its source, relative to the cache.
        directory: The revision's own.
    """

    source: str
    directory: Path
    size_bytes: int


def find_superseded(cache_dir: Path) -> list[Superseded]:
    """Return the revisions that pulls have replaced; of a hub, what they share is counted once."""
    used = _directories_in_use(cache_dir)
    found = []
    for kind in _SHARED:
        for source in sorted((cache_dir / kind).glob("*/")):
            found += _unused(cache_dir, source, source.iterdir(), used)
    for repository in sorted((cache_dir / _HUB).glob("models--*/")):
        snapshots = repository / "snapshots"
        if snapshots.is_dir():
            found += _unused(cache_dir, repository, snapshots.iterdir(), used)
    return found


def remove_superseded(cache_dir: Path, found: Iterable[Superseded]) -> list[Superseded]:
    """Remove revisions, and return those that are gone; a source that is being pulled stays."""
    removed = []
    locks = cache_dir / "locks"
    for each in found:
        locks.mkdir(parents=True, exist_ok=True)
        # The folder's name is the source's ``lock_name``.
        lock = FileLock(locks / f"{Path(each.source).name}.lock")
        try:
            with lock.acquire(timeout=0):
                if each.source.startswith(f"{_HUB}/"):
                    _remove_snapshot(each.directory)
                else:
                    shutil.rmtree(each.directory)
        except Timeout:
            continue
        removed.append(each)
    return removed


def _directories_in_use(cache_dir: Path) -> set[str]:
    receipts = (read_receipt(file) for file in (cache_dir / "receipts").glob("*.json"))
    return {receipt.directory for receipt in receipts if receipt is not None}


def _unused(
    cache_dir: Path, source: Path, revisions: Iterable[Path], used: set[str]
) -> list[Superseded]:
    directories = [each for each in sorted(revisions) if each.is_dir()]
    names = {each: each.relative_to(cache_dir).as_posix() for each in directories}
    if not used & set(names.values()):
        return []
    others = [each for each in directories if names[each] not in used]
    kept_blobs = {
        file.resolve() for each in directories if each not in others for file in _files(each)
    }
    return [
        Superseded(source.relative_to(cache_dir).as_posix(), each, _size_of(each, kept_blobs))
        for each in others
    ]


def _files(directory: Path) -> list[Path]:
    return [file for file in directory.rglob("*") if file.is_file()]


def _size_of(directory: Path, shared: set[Path]) -> int:
    blobs = {file.resolve() for file in _files(directory)} - shared
    return sum(blob.stat().st_size for blob in blobs)


def _remove_snapshot(snapshot: Path) -> None:
    """Remove a hub's snapshot, and the blobs that no other one links to."""
    repository = snapshot.parents[1]
    blobs = {file.resolve() for file in _files(snapshot)}
    shutil.rmtree(snapshot)
    linked = {file.resolve() for file in _files(repository / "snapshots")}
    for blob in blobs - linked:
        blob.unlink(missing_ok=True)
