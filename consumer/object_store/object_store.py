"""Large bodies in an object store: a local directory, S3 or what else fsspec supports.

The only module that resolves body references, in both directions. JSON only; nothing is unpickled.
"""

import asyncio
import contextlib
import errno
import hashlib
import logging
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import fsspec

from consumer.engine.bodies.moves import MAX_MOVES
from consumer.engine.bodies.store import (
    STATUS_BAD_REQUEST,
    BodyRefused,
    BodyRefusedError,
    StoreError,
)
from consumer.ports import SourceError
from schemas.settings.file import RouteSettings
from schemas.wire.references import (
    BodyReference,
    IllegalUrlError,
    RequestBodyReference,
    check_prefix,
    check_url,
    prefix_of,
)

log = logging.getLogger(__name__)

STATUS_NOT_FOUND = 404
PATIENCE_S = 120.0
"""For one request to the store; its own client usually gives up earlier."""
_SHA256_PREFIX_CHARACTERS = 16
_FILE = "file://"
_NO_PLAIN_PATH = {errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO}

Answer = TypeVar("Answer")


def open_store(route_name: str, route: RouteSettings) -> "ObjectStore | None":
    """Return a route's store, if any; creates a local one. ``SourceError`` if it is unusable."""
    settings = route.claim_check
    if settings is None:
        return None
    try:
        store = ObjectStore(
            store_url=settings.store,
            route=route_name,
            read_prefixes=settings.request_prefixes,
            max_object_bytes=settings.max_object_bytes,
        )
    except (IllegalUrlError, ImportError) as error:
        raise SourceError(f"routes.{route_name}.claim_check: {error}") from error
    store.make_place()
    return store


class ObjectStore:
    """Writes response bodies below ``store_url``, and reads bodies below ``read_prefixes``.

    Raises ``IllegalUrlError``, and ``ImportError`` if the package for a url's scheme is missing.
    """

    def __init__(
        self,
        *,
        store_url: str,
        route: str,
        read_prefixes: tuple[str, ...],
        max_object_bytes: int,
    ) -> None:
        self._store_url = check_prefix(store_url)
        self._directory = f"{self._store_url}/{route}"
        self._prefixes = tuple(check_prefix(prefix) for prefix in read_prefixes)
        self._max_object_bytes = max_object_bytes
        self._threads = ThreadPoolExecutor(MAX_MOVES, thread_name_prefix="object-store")
        self._systems: dict[str, Any] = {}
        for url in (self._directory, *self._prefixes):
            scheme = url.partition("://")[0]
            if scheme != "file" and scheme not in self._systems:
                self._systems[scheme] = _connect(scheme)

    def make_place(self) -> None:
        """Create the directory of results if it is a local one that is missing.

        Only at a consumer's start: a directory that disappears later is a lost mount, and nothing
        would find what was written to the disk below it.
        """
        root = Path(self._store_url.removeprefix(_FILE))
        if not self._store_url.startswith(_FILE) or root.is_dir():
            return
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            log.warning(
                "claim_check.store: %s cannot be made: %s",
                root,
                error,
                extra={"event": "object_store_missing", "error_class": type(error).__name__},
            )
        else:
            log.warning(
                "claim_check.store: made %s; if a mount belongs there, it is missing",
                root,
                extra={"event": "object_store_made"},
            )

    async def write(self, name: str, body: bytes) -> BodyReference:
        return await self._ask(lambda: self._write(name, body))

    async def size_bytes(self, url: str) -> int:
        return await self._ask(lambda: self._size_bytes(url))

    async def read(self, reference: BodyReference | RequestBodyReference) -> bytes:
        return await self._ask(lambda: self._read(reference))

    def close(self) -> None:
        """Stop the threads; calls that still wait for the store are abandoned."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, question: Callable[[], Answer]) -> Answer:
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await asyncio.get_running_loop().run_in_executor(self._threads, question)
        except (BodyRefusedError, StoreError):
            raise
        except TimeoutError:
            raise StoreError(f"the object store did not answer within {PATIENCE_S:.0f} s") from None
        except Exception as error:
            # Each store's client raises errors of its own, without a common base.
            raise StoreError(f"the object store failed: {type(error).__name__}: {error}") from error

    # Runs in a thread.

    def _write(self, name: str, body: bytes) -> BodyReference:
        sha256 = hashlib.sha256(body).hexdigest()
        url = f"{self._directory}/{name}-{sha256[:_SHA256_PREFIX_CHARACTERS]}.json"
        try:
            if url.startswith(_FILE):
                root = Path(self._store_url.removeprefix(_FILE))
                _write_file(root, Path(url.removeprefix(_FILE)), body)
            else:
                self._system(url).pipe_file(url, body)
        except FileNotFoundError as error:
            # E.g. of a bucket or a mount: for the operator to fix, and not the record's fault.
            raise StoreError(
                f"the object store has no place for {url} (claim_check.store): {error}"
            ) from error
        return BodyReference(url=url, size_bytes=len(body), sha256=sha256)

    def _size_bytes(self, url: str) -> int:
        prefix = self._prefix_of(url)
        try:
            size_bytes = self._size_of(prefix, url)
        except FileNotFoundError:
            self._check_place(prefix)
            raise BodyRefusedError(
                BodyRefused(
                    STATUS_NOT_FOUND, "body_not_found", "body_ref.url: there is no such object"
                )
            ) from None
        if not 0 < size_bytes <= self._max_object_bytes:
            raise _differs(
                f"url: the object has {size_bytes:,} bytes; allowed are 1 to "
                f"{self._max_object_bytes:,} (claim_check.max_object_bytes)"
            )
        return size_bytes

    def _size_of(self, prefix: str, url: str) -> int:
        if url.startswith(_FILE):
            with _opened(prefix, url) as descriptor:
                return os.fstat(descriptor).st_size
        entry = self._system(url).info(url)
        if entry["type"] != "file":
            raise FileNotFoundError(url)
        return int(entry["size"])

    def _check_place(self, prefix: str) -> None:
        """Raise ``StoreError`` if more than the object is missing: its directory or bucket."""
        scheme, _, path = prefix.partition("://")
        if prefix.startswith(_FILE):
            place, is_there = path, Path(path).is_dir()
        else:
            place = path.split("/", 1)[0]
            is_there = bool(self._systems[scheme].exists(f"{scheme}://{place}"))
        if not is_there:
            raise StoreError(
                f"{place} is not there, and {prefix} is one of claim_check.request_prefixes: mount "
                "or create it"
            )

    def _read(self, reference: BodyReference | RequestBodyReference) -> bytes:
        url = reference.url
        size_bytes = self._size_bytes(url)
        if reference.size_bytes not in (None, size_bytes):
            raise _differs(f"size_bytes: the object has {size_bytes:,} bytes")
        if url.startswith(_FILE):
            with (
                _opened(self._prefix_of(url), url) as descriptor,
                os.fdopen(descriptor, "rb", closefd=False) as file,
            ):
                body = file.read(size_bytes)
        else:
            body = self._system(url).cat_file(url, start=0, end=size_bytes)
        if len(body) != size_bytes:
            raise _differs("url: the object was changed while it was read")
        if reference.sha256 not in (None, hashlib.sha256(body).hexdigest()):
            raise _differs("sha256: the object has another checksum")
        return bytes(body)

    def _prefix_of(self, url: str) -> str:
        try:
            prefix = prefix_of(check_url(url), self._prefixes)
        except IllegalUrlError as error:
            raise _differs(f"url: {error}") from None
        if prefix is None:
            raise _differs("url: is not under claim_check.request_prefixes")
        return prefix

    def _system(self, url: str) -> Any:
        return self._systems[url.partition("://")[0]]


def _connect(scheme: str) -> Any:
    try:
        # Cached listings would show outdated objects.
        return fsspec.filesystem(scheme, use_listings_cache=False)
    except ImportError as error:
        raise ImportError(
            f"urls of {scheme}:// need a package that is not installed: {error}"
        ) from error


def _differs(problem: str) -> BodyRefusedError:
    return BodyRefusedError(
        BodyRefused(STATUS_BAD_REQUEST, "reference_refused", f"body_ref.{problem}")
    )


def _write_file(root: Path, path: Path, body: bytes) -> None:
    """Write a file atomically: it is complete or absent, whatever fails.

    Directories below ``root`` are created, but not ``root`` itself, which may be on a lost mount:
    that is a ``FileNotFoundError``.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not there: mount or create it")
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(prefix=".draft-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(body)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        Path(draft).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(draft).unlink()
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextlib.contextmanager
def _opened(prefix: str, url: str) -> Iterator[int]:
    """Open a file below ``prefix`` without following any link below it.

    Each part is opened from the one before, so that nothing can replace one in between. The prefix
    itself is the operator's, and may be a link. ``BodyRefusedError`` means that a part is a link,
    or the last is no regular file.
    """
    *directories, name = url.removeprefix(prefix + "/").split("/")
    flags = os.O_RDONLY | os.O_CLOEXEC
    current = os.open(prefix.removeprefix(_FILE), flags | os.O_DIRECTORY)
    try:
        # O_NONBLOCK: opening a pipe would wait for its writer.
        for part, kind in [(each, os.O_DIRECTORY) for each in directories] + [
            (name, os.O_NONBLOCK)
        ]:
            try:
                opened = os.open(part, flags | kind | os.O_NOFOLLOW, dir_fd=current)
            except FileNotFoundError:
                raise
            except OSError as error:
                if error.errno in _NO_PLAIN_PATH:
                    raise _differs("url: leads over a link, or is no file") from None
                raise
            os.close(current)
            current = opened
        if not stat.S_ISREG(os.fstat(current).st_mode):
            raise _differs("url: leads over a link, or is no file")
        yield current
    finally:
        os.close(current)
