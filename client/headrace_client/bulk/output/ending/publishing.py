"""The steps of an end: each can be repeated, whatever it left when it was interrupted."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from headrace_client.bulk.output.ending.journal import Action, Step
from headrace_client.bulk.output.errors import OutputError
from headrace_client.bulk.output.files import Files

# Their uploads appear whole, and their renames are copies.
_ATOMIC_UPLOADS = {
    "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "obs", "tos"
}  # fmt: skip
_MARKER = "_SUCCESS"
_LANCE_VERSIONS = "_versions"
_LANCE_FOLDERS = {"data", _LANCE_VERSIONS, "_transactions", "_deletions", "_indices"}


def run_step(step: Step, files: Files) -> None:
    """Raises ``OutputError`` where a store refuses; the same step can be run again."""
    source, target = Path(step.source), Path(step.target)
    match step.action:
        case Action.REPLACE:
            if source.exists():
                files.replace(source, target)
                files.sync_directory(target.parent)
        case Action.SWAP:
            _swap(source, target, files)
        case Action.UPLOAD:
            if source.exists():
                _upload(source, step.target)
                files.remove(source)
        case Action.UPLOAD_TREE:
            if source.exists():
                _upload_tree(source, step.target)
                files.remove_tree(source)
        case Action.REMOVE:
            if "://" in step.target:
                _remove(step.target)
            elif target.exists():
                files.remove(target)
                files.sync_directory(target.parent)


def _old_of(target: Path) -> Path:
    """Where a directory is kept while another takes its place."""
    return target.with_name(f".{target.name}.headrace-old")


def _swap(source: Path, target: Path, files: Files) -> None:
    old = _old_of(target)
    if source.exists():
        if target.exists():
            files.remove_tree(old)
            files.replace(target, old)
        files.replace(source, target)
        files.sync_directory(target.parent)
    files.remove_tree(old)


def _upload(source: Path, url: str) -> None:
    system, path = fsspec.core.url_to_fs(url)
    try:
        system.makedirs(str(PurePosixPath(path).parent), exist_ok=True)
        if _uploads_whole(system):
            system.put_file(str(source), path)
            return
        temporary = path + ".headrace-tmp"
        system.put_file(str(source), temporary)
        try:
            system.mv(temporary, path)
        except OSError:
            # Some do not rename over a file.
            system.rm_file(path)
            system.mv(temporary, path)
    except Exception as error:
        raise OutputError(
            f"{url} cannot be written ({error}). The whole of it is in {source}: mend access to "
            "the store, and run the same command again"
        ) from error


def _upload_tree(source: Path, url: str) -> None:
    """What makes the directory readable comes last: Lance's manifest, or ``_SUCCESS``."""
    system, path = fsspec.core.url_to_fs(url)
    versions = source / _LANCE_VERSIONS
    manifests = sorted(each for each in versions.rglob("*") if each.is_file())
    others = sorted(
        each for each in source.rglob("*") if each.is_file() and each not in set(manifests)
    )
    try:
        _clear(system, path, is_lance=bool(manifests))
        for file in (*others, *manifests):
            place = f"{path}/{file.relative_to(source).as_posix()}"
            system.makedirs(str(PurePosixPath(place).parent), exist_ok=True)
            system.put_file(str(file), place)
        if not manifests:
            system.pipe_file(f"{path}/{_MARKER}", b"")
    except Exception as error:
        raise OutputError(
            f"{url} cannot be written ({error}). The whole of it is in {source}: mend access to "
            "the store, and run the same command again"
        ) from error


def strangers(names: Iterable[str], suffix: str, *, is_lance: bool) -> list[str]:
    """Those of a directory's entries that no job has put there."""
    there = set(names)
    if is_lance and _LANCE_VERSIONS in there:
        return []
    return sorted(name for name in there if not _is_of_parts(name, suffix))


def names_in(url: str) -> list[str]:
    """The entries of a remote directory; none where it is not there."""
    system, path = fsspec.core.url_to_fs(url)
    if not system.isdir(path):
        return []
    return [PurePosixPath(each).name for each in system.ls(path, detail=False)]


def _is_of_parts(name: str, suffix: str) -> bool:
    return name == _MARKER or (name.startswith("part-") and name.endswith(suffix))


def _clear(system: Any, path: str, *, is_lance: bool) -> None:
    """Remove what a job has put there, and nothing else; the marker first."""
    if not system.isdir(path):
        return
    names = sorted(PurePosixPath(each).name for each in system.ls(path, detail=False))
    for name in names:
        if is_lance and name in _LANCE_FOLDERS:
            system.rm(f"{path}/{name}", recursive=True)
        elif not is_lance and _is_of_parts(name, ""):
            system.rm_file(f"{path}/{name}")


def _remove(url: str) -> None:
    system, path = fsspec.core.url_to_fs(url)
    try:
        if system.exists(path):
            system.rm_file(path)
    except Exception as error:
        raise OutputError(
            f"{url} cannot be removed ({error}): mend access to the store, and run the same "
            "command again"
        ) from error


def _uploads_whole(system: Any) -> bool:
    protocols = system.protocol
    return not _ATOMIC_UPLOADS.isdisjoint([protocols] if isinstance(protocols, str) else protocols)
