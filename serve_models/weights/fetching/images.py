"""Fetches a model from an OCI registry: an artifact whose layers are files, or an image.

Layers that are files are named by an annotation, as ``oras push`` and model packs write it. Layers
of an image are tar archives, unpacked in order; the one model directory in them is kept.
"""

import os
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from serve_models.weights.fetching.registries import Registry
from serve_models.weights.fetching.request import (
    Fetched,
    Progress,
    Request,
    check_sizes,
    describe_error,
    no_files,
    unchanged,
)
from serve_models.weights.fetching.transfers import (
    RemoteFile,
    arrive,
    copy_files,
    inside,
    missing_bytes,
    partial_directory,
)
from serve_models.weights.files import wanted_files
from serve_models.weights.receipts import FileMark, Receipt, mark_files, suffix_of
from serve_models.weights.references import ModelSourceError, Source
from serve_models.weights.wheel_models import find_part

IMAGES = "images"
_FILE_NAMES = (
    "org.opencontainers.image.title",
    "org.cncf.model.filepath",
)
"""Annotations with a layer's path."""
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_UNPACK = "io.deis.oras.content.unpack"
_BLOBS = ".blobs"
_UNPACKED = ".unpacked"
_WHITEOUT = ".wh."
_DELETED_DIRECTORY = ".wh..wh..opq"


def fetch_image(
    source: Source,
    cache_dir: Path,
    request: Request,
    progress: Progress,
    known: Receipt | None = None,
    registry: Registry | None = None,
) -> Fetched:
    """Fetch an artifact or image, resumed where an earlier pull of the same digest stopped.

    Each layer is held to its digest. ``known`` is an undamaged copy, which stays where the digest
    is still its own. Raises ``ModelSourceError``.
    """
    opened = registry or Registry(source.name)
    try:
        manifest, digest = opened.manifest(source.revision or "latest")
        if known is not None and known.revision == digest:
            return unchanged(known)
        return _fetch(source, cache_dir, request, progress, opened, manifest, digest)
    except ModelSourceError:
        raise
    except Exception as error:
        # The HTTP client's errors have no common base with those of a tar archive.
        raise ModelSourceError(
            f"source: {source.text} could not be fetched: {describe_error(error)}"
        ) from error
    finally:
        opened.close()


def _fetch(
    source: Source,
    cache_dir: Path,
    request: Request,
    progress: Progress,
    registry: Registry,
    manifest: Mapping[str, Any],
    digest: str,
) -> Fetched:
    suffix = suffix_of(request.part, with_code=request.with_code)
    name = f"{digest.removeprefix('sha256:')[:16]}{suffix}"
    directory = cache_dir / IMAGES / source.folder_name / name
    layers = manifest["layers"]
    named = {path: layer for layer in layers if (path := _path_of(layer))}
    wanted = wanted_files(named, part=request.part, with_code=request.with_code)
    files = {path: _remote(named[path]) for path in wanted}
    archives = {
        f"{_BLOBS}/{number:04}": _remote(layer)
        for number, layer in enumerate(layers)
        if _is_archive(layer)
    }
    if not files and not archives:
        raise no_files(request, named)
    all_files = {**files, **archives}
    total_bytes = sum(file.size_bytes for file in all_files.values())
    check_sizes(total_bytes, missing_bytes(all_files, directory), request, cache_dir)
    progress.begin(total_bytes)
    marks, fetched_bytes = copy_files(all_files, registry.read_blob, directory, progress)
    if archives:
        progress.note("unpacking")
        _unpack_model(partial_directory(directory), list(archives), source, request)
        marks = _marks_of(partial_directory(directory))
    arrive(directory)
    return Fetched(str(directory.relative_to(cache_dir)), digest, marks, fetched_bytes)


def _path_of(layer: Mapping[str, Any]) -> str | None:
    """Return the path of a layer that is one file."""
    annotations = layer.get("annotations") or {}
    if _is_archive(layer):
        return None
    return next((str(annotations[name]) for name in _FILE_NAMES if name in annotations), None)


def _is_archive(layer: Mapping[str, Any]) -> bool:
    kind = str(layer.get("mediaType", ""))
    annotations = layer.get("annotations") or {}
    if annotations.get(_UNPACK) == "true":
        return True
    # `oras push` gives plain files the type of an image's layer.
    is_file = kind.startswith(_LAYER) and _FILE_NAMES[0] in annotations
    return ".tar" in kind and not is_file


def _remote(layer: Mapping[str, Any]) -> RemoteFile:
    algorithm, _, value = str(layer["digest"]).partition(":")
    if algorithm != "sha256":
        raise ModelSourceError(f"source: a layer's digest is {algorithm}, and must be sha256")
    return RemoteFile(str(layer["digest"]), int(layer["size"]), (algorithm, value))


def _unpack_model(partial: Path, archives: list[str], source: Source, request: Request) -> None:
    """Replace the archives by the wanted files of the one model in them."""
    root = partial / _UNPACKED
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    room_bytes = request.most_bytes
    for archive in archives:
        room_bytes -= _unpack(partial / archive, root, room_bytes)
    paths = [
        PurePosixPath(path.relative_to(root).as_posix())
        for path in root.rglob("*")
        if path.is_file() and path.resolve().is_relative_to(root.resolve())
    ]
    model = find_part(paths, source.text, request.part)
    below = {str(path.relative_to(model)) for path in paths if path.is_relative_to(model)}
    for path in wanted_files(below, part=request.part, with_code=request.with_code):
        target = inside(partial, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        # A hub's cache in an image has links, which lead nowhere from here.
        _place((root / model / path).resolve(), target)
    shutil.rmtree(root)
    shutil.rmtree(partial / _BLOBS)


def _place(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:  # Some file systems have no hard links.
        shutil.copyfile(file, target)


def _unpack(archive: Path, root: Path, room_bytes: float) -> int:
    """Unpack a layer over the earlier ones, and return the bytes that it takes."""
    taken_bytes = 0
    try:
        with tarfile.open(archive, mode="r:*") as opened:
            for member in opened:
                path = PurePosixPath(member.name.lstrip("/"))
                if path.name.startswith(_WHITEOUT):
                    _delete(root, path)
                    continue
                if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
                    continue
                taken_bytes += member.size
                if taken_bytes > room_bytes:
                    raise ModelSourceError(
                        "source: unpacks to more than weights.max_model_gib allows; raise it"
                    )
                try:
                    opened.extract(member, root, filter="data")
                except (tarfile.FilterError, KeyError):
                    # Of an operating system around the model: a link that leads out, or nowhere.
                    continue
    except tarfile.ReadError as error:
        raise ModelSourceError(
            f"source: a layer cannot be unpacked ({error}); layers may be tar or tar+gzip"
        ) from error
    return taken_bytes


def _delete(root: Path, marker: PurePosixPath) -> None:
    """Do what a whiteout says: a later layer has removed something of an earlier one."""
    parent = inside(root, str(marker.parent / "x")).parent
    if marker.name == _DELETED_DIRECTORY:
        doomed = list(parent.iterdir()) if parent.is_dir() else []
    else:
        doomed = [inside(root, str(marker.parent / marker.name.removeprefix(_WHITEOUT)))]
    for each in doomed:
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink(missing_ok=True)


def _marks_of(directory: Path) -> dict[str, FileMark]:
    paths = sorted(
        path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()
    )
    return mark_files(directory, paths)
