"""Fetches from the Hugging Face hub, or a server that speaks its API (``$HF_ENDPOINT``)."""

import glob
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serve_models.weights.fetching.request import (
    Fetched,
    Progress,
    Request,
    check_sizes,
    describe_error,
    no_files,
)
from serve_models.weights.files import wanted_files
from serve_models.weights.receipts import FileMark, Receipt, mark_files
from serve_models.weights.references import ModelSourceError, Source

HUB = "hub"
"""The folder of the cache that the hub's library lays out."""
_TIMEOUT_S = 60.0


def fetch_from_hub(
    source: Source,
    cache_dir: Path,
    request: Request,
    progress: Progress,
    known: Receipt | None = None,
) -> Fetched:
    """Fetch a repository at one commit; files that an earlier pull finished stay.

    The library goes on within a file after an error of the network, and begins a file anew whose
    process was ended. ``known`` spares the checksums of files that have not changed. Raises
    ``ModelSourceError``.
    """
    try:
        commit, listed = _list(source)
        wanted = wanted_files(listed, part=request.part, with_code=request.with_code)
        missing, directory = _download(
            source, commit, _sizes(listed, wanted, request), cache_dir, request, progress
        )
    except ModelSourceError:
        raise
    except Exception as error:
        # The library's errors and those of its HTTP client have no common base.
        raise ModelSourceError(
            f"source: {source.text} could not be fetched: {describe_error(error)}; check the name "
            "and revision, the network, and HF_TOKEN where the repository is private or gated"
        ) from error
    marks = _marks(directory, wanted, set(missing), known, progress)
    _check_against_hub(directory, marks, listed, set(missing))
    return Fetched(
        directory=str(directory.relative_to(cache_dir.resolve())),
        revision=commit,
        files=marks,
        fetched_bytes=sum(marks[path].size_bytes for path in missing),
    )


def _list(source: Source) -> tuple[str, dict[str, Any]]:
    """Return the commit that a revision means, and its files' entries by path."""
    from huggingface_hub import HfApi  # noqa: PLC0415 -- slow to import

    info = HfApi().model_info(
        source.name, revision=source.revision, files_metadata=True, timeout=_TIMEOUT_S
    )
    if info.sha is None:
        raise ModelSourceError(f"source: {source.text}: the hub names no commit")
    return info.sha, {each.rfilename: each for each in info.siblings or ()}


def _sizes(listed: Mapping[str, Any], wanted: list[str], request: Request) -> dict[str, int]:
    if not wanted:
        raise no_files(request, listed)
    return {path: int(listed[path].size or 0) for path in wanted}


def _download(
    source: Source,
    commit: str,
    sizes: Mapping[str, int],
    cache_dir: Path,
    request: Request,
    progress: Progress,
) -> tuple[list[str], Path]:
    """Have the library fetch files at a commit; return what was missing, and the directory."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415 -- slow to import

    repository = cache_dir / HUB / f"models--{source.name.replace('/', '--')}"
    here = repository / "snapshots" / commit
    _remove_damaged(here, sizes)
    missing = [path for path in sizes if request.is_forced or not (here / path).is_file()]
    missing_bytes = sum(sizes[path] for path in missing)
    check_sizes(sum(sizes.values()), missing_bytes, request, cache_dir)
    progress.begin(missing_bytes)
    directory = snapshot_download(
        source.name,
        # Not the branch: its name in the cache would move before the files are here.
        revision=commit,
        cache_dir=cache_dir / HUB,
        allow_patterns=[glob.escape(path) for path in sizes],
        force_download=request.is_forced,
        tqdm_class=_bar(progress),
    )
    return missing, Path(directory)


def _remove_damaged(snapshot: Path, sizes: Mapping[str, int]) -> None:
    """Remove files of another length than the hub's: the library takes what is there as it is."""
    for path, size_bytes in sizes.items():
        file = snapshot / path
        if file.is_file() and file.stat().st_size != size_bytes:
            # The file is a link.
            file.resolve().unlink()


def _marks(
    directory: Path,
    wanted: list[str],
    missing: set[str],
    known: Receipt | None,
    progress: Progress,
) -> dict[str, FileMark]:
    old: Mapping[str, FileMark] = {}
    if known is not None and directory.as_posix().endswith(known.directory):
        old = {path: mark for path, mark in known.files.items() if path not in missing}
    unknown = [path for path in wanted if path not in old]
    if missing:
        progress.note("checking")
    new = mark_files(directory, unknown)
    return {path: old[path] if path in old else new[path] for path in wanted}


def _check_against_hub(
    directory: Path, marks: Mapping[str, FileMark], listed: Mapping[str, Any], missing: set[str]
) -> None:
    for path, mark in marks.items():
        lfs = listed[path].lfs
        size_bytes = listed[path].size
        if (lfs is None or lfs.sha256 == mark.sha256) and size_bytes in {None, mark.size_bytes}:
            continue
        if path in missing:
            # The file is a link: what it leads to would be taken for whole next time.
            (directory / path).resolve().unlink()
        raise ModelSourceError(
            f"source: {path} is not as the hub lists it (SHA-256 or size); "
            + ("pull it again" if path in missing else "pull it again with --force")
        )


def _bar(progress: Progress) -> type:
    """Return a class of bars for the hub's library, which hands on what they count."""
    from tqdm.auto import tqdm  # noqa: PLC0415 -- as slow as the hub's library

    # Any: tqdm has no annotations.
    base: Any = tqdm

    class Bar(base):  # type: ignore[misc] # a subclass of Any
        def __init__(self, *arguments: Any, **options: Any) -> None:
            # One of the library's bars counts files; one what comes over the network, and another
            # one what is written, with what an earlier pull left.
            self._counts = str(options.get("desc", "")).startswith("Reconstructing")
            super().__init__(*arguments, **{**options, "disable": True})

        def update(self, count: float | None = 1) -> None:
            if self._counts:
                progress.advance(int(count or 0))

    return Bar
