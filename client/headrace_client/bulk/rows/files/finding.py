"""Which files an input names: paths, globs, folders and URLs, in the order of their rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from fsspec.core import url_to_fs

from headrace_client.bulk.rows.errors import InputError
from headrace_client.bulk.rows.files.formats import Format, format_of, require_format

STANDARD_INPUT = "-"
LOOK_BYTES = 64 << 10
"""What is read ahead where a file is only looked at, or read in large pieces anyway; an object
store's own default is 50 MB."""
_MAGIC = frozenset("*?[")


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """One file of the input.

    Attributes:
        path: As people know it: a local path, or a URL.
        format: What it holds.
        compression: ``gzip``, ``zstd`` or ``None``.
        size: In bytes, as stored; ``None`` for standard input and datasets.
        says_its_format: Whether its name said what it holds, so that it must be that.
        modified: What changes when the file is written anew: a time or an entity tag.
        opener: Opens it for reading from the beginning, given how many bytes its file system shall
            read ahead.
        filesystem: Where it is; ``None`` for standard input.
        storage_path: Its path there.
        storage_options: What the file system was made with.
    """

    path: str
    format: Format
    compression: str | None
    size: int | None
    modified: str
    says_its_format: bool
    opener: Callable[[int], BinaryIO] = field(compare=False)
    filesystem: Any = field(default=None, compare=False)
    storage_path: str = ""
    storage_options: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def open(self, read_ahead_bytes: int = LOOK_BYTES) -> BinaryIO:
        return self.opener(read_ahead_bytes)

    @property
    def is_local(self) -> bool:
        return "file" in _protocols(self.filesystem)


def find_files(
    paths: Sequence[str], file_format: Format | None, storage_options: Mapping[str, Any]
) -> list[InputFile]:
    """Return the files that paths name, each path's in the order of their names.

    Raises:
        InputError: A path names nothing, a file's format is unknown, a file is named twice.
    """
    found: dict[str, InputFile] = {}
    for path in paths:
        before = len(found)
        for each in _found(path, file_format, storage_options):
            if each.path in found:
                raise InputError(f"{each.path} is named twice: name it once, or mend the glob")
            found[each.path] = each
        if len(found) == before:
            verb = "matches" if _MAGIC & set(path) else "holds"
            raise InputError(
                f"{path} {verb} no input file; names that begin with _ or . do not count"
            )
    return list(found.values())


def _found(
    path: str, file_format: Format | None, storage_options: Mapping[str, Any]
) -> Iterator[InputFile]:
    try:
        filesystem, inside = url_to_fs(path, **storage_options)
    except ImportError as error:
        protocol = path.partition("://")[0]
        raise InputError(
            f"{path}: {protocol}:// needs a package that is not installed ({error})"
        ) from None
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    names = [inside]
    try:
        if _MAGIC & set(inside) and not filesystem.exists(inside):
            names = sorted(filesystem.glob(inside))
        for name in names:
            yield from _below(filesystem, name, file_format, storage_options)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except PermissionError as error:
        raise InputError(f"{path} may not be read: {error}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}") from None


def _below(
    filesystem: Any, name: str, file_format: Format | None, storage_options: Mapping[str, Any]
) -> Iterator[InputFile]:
    info = filesystem.info(name)
    if info["type"] != "directory":
        yield _file(filesystem, name, info, file_format, storage_options)
        return
    if file_format is Format.LANCE or _is_dataset(filesystem, name):
        yield _dataset(filesystem, name, storage_options)
        return
    datasets: set[str] = set()
    entries = filesystem.find(name, detail=True)
    for inner in sorted(entries):
        parts = PurePosixPath(inner).relative_to(PurePosixPath(name)).parts
        if any(part.startswith(("_", ".")) for part in parts if part != "_versions"):
            continue
        depth = next((i for i, part in enumerate(parts) if part.endswith(".lance")), None)
        if depth is None:
            yield _file(filesystem, inner, entries[inner], file_format, storage_options)
            continue
        dataset = str(PurePosixPath(name, *parts[: depth + 1]))
        if dataset not in datasets:
            datasets.add(dataset)
            yield _dataset(filesystem, dataset, storage_options)


def _is_dataset(filesystem: Any, name: str) -> bool:
    return name.rstrip("/").endswith(".lance") or bool(
        filesystem.isdir(f"{name.rstrip('/')}/_versions")
    )


def _dataset(filesystem: Any, name: str, storage_options: Mapping[str, Any]) -> InputFile:
    def no_bytes(_: int) -> BinaryIO:
        raise InputError(f"{name} is a Lance dataset, not a file")

    return InputFile(
        path=_shown(filesystem, name),
        format=Format.LANCE,
        compression=None,
        size=None,
        modified="",
        says_its_format=True,
        opener=no_bytes,
        filesystem=filesystem,
        storage_path=name,
        storage_options=storage_options,
    )


def _file(
    filesystem: Any,
    name: str,
    info: Mapping[str, Any],
    file_format: Format | None,
    storage_options: Mapping[str, Any],
) -> InputFile:
    shown = _shown(filesystem, name)
    if file_format is None:
        found, compression = require_format(shown)
    else:
        found, compression = file_format, format_of(shown)[1]
    return InputFile(
        path=shown,
        format=found,
        compression=compression,
        size=int(info["size"]),
        modified=_modified(info),
        says_its_format=file_format is None,
        opener=lambda read_ahead_bytes: _open(filesystem, name, read_ahead_bytes),
        filesystem=filesystem,
        storage_path=name,
        storage_options=storage_options,
    )


def _open(filesystem: Any, name: str, read_ahead_bytes: int) -> BinaryIO:
    opened: BinaryIO = filesystem.open(name, "rb", block_size=read_ahead_bytes)
    return opened


def _modified(info: Mapping[str, Any]) -> str:
    if isinstance(info.get("mtime"), float):
        return f"{info['mtime']:.3f}"
    for name in ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created"):
        if info.get(name):
            return str(info[name])
    return ""


def _shown(filesystem: Any, name: str) -> str:
    return name if "file" in _protocols(filesystem) else str(filesystem.unstrip_protocol(name))


def _protocols(filesystem: Any) -> tuple[str, ...]:
    if filesystem is None:
        return ()
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)
