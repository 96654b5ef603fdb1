"""Fetches a directory of an object store, ``s3://`` or ``gs://``, by fsspec.

Credentials and endpoints are the store's own: environment, configuration files, or the identity of
the machine or pod.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsspec

from serve_models.weights.fetching.request import (
    Fetched,
    Progress,
    Request,
    check_sizes,
    describe_error,
    no_files,
    unchanged,
)
from serve_models.weights.fetching.transfers import RemoteFile, arrive, copy_files, missing_bytes
from serve_models.weights.files import wanted_files
from serve_models.weights.receipts import FileMark, Receipt, suffix_of
from serve_models.weights.references import ModelSourceError, Source

OBJECTS = "objects"
SUMS_FILE = "SHA256SUMS"
"""Checksums of the files beside it, as ``sha256sum`` writes them."""
_PACKAGES = {"s3": "headrace[s3]", "gs": "headrace[gs]"}
_MOST_SUMS_BYTES = 1024 * 1024
_SUM_LINE = re.compile(r"(?P<sum>[0-9a-f]{64}) [ *](?:\./)?(?P<path>.+)")
_NOT_MD5_SSE = {"aws:kms", "aws:kms:dsse"}


def fetch_objects(
    source: Source,
    cache_dir: Path,
    request: Request,
    progress: Progress,
    known: Receipt | None = None,
    system: Any = None,
) -> Fetched:
    """Fetch the objects under a prefix, resumed where an earlier pull of the same ones stopped.

    Objects that change meanwhile are an error. ``known`` is an undamaged copy, which stays where
    nothing has changed since. ``system`` is a file system of fsspec, for tests.
    Raises ``ModelSourceError``.
    """
    system = system or _connect(source.kind)
    try:
        listed = _list(system, source.name)
        revision = _stamp(listed)
        if known is not None and known.revision == revision:
            return unchanged(known)
        files = _wanted(system, source, listed, request)
    except ModelSourceError:
        raise
    except Exception as error:
        # Each store's client raises errors of its own, without a common base.
        raise ModelSourceError(
            f"source: {source.text} could not be read: {describe_error(error)}; check the "
            "name, the credentials of this process, and the network"
        ) from error
    suffix = suffix_of(request.part, with_code=request.with_code)
    directory = cache_dir / OBJECTS / source.folder_name / f"{revision}{suffix}"
    try:
        check_sizes(
            sum(file.size_bytes for file in files.values()),
            missing_bytes(files, directory),
            request,
            cache_dir,
        )
        marks, fetched_bytes = _copy(system, source, files, revision, directory, progress)
    except ModelSourceError:
        raise
    except Exception as error:
        # As above, and what a disk says.
        raise ModelSourceError(
            f"source: {source.text} could not be fetched: {describe_error(error)}"
        ) from error
    return Fetched(str(directory.relative_to(cache_dir)), revision, marks, fetched_bytes)


def _copy(
    system: Any,
    source: Source,
    files: Mapping[str, RemoteFile],
    revision: str,
    directory: Path,
    progress: Progress,
) -> tuple[dict[str, FileMark], int]:
    progress.begin(sum(file.size_bytes for file in files.values()))
    marks, fetched_bytes = copy_files(
        files,
        lambda name, start, end: bytes(system.cat_file(name, start=start, end=end)),
        directory,
        progress,
    )
    if _stamp(_list(system, source.name)) != revision:
        raise ModelSourceError(
            f"source: {source.text} was changed while it was fetched; pull it again"
        )
    arrive(directory)
    return marks, fetched_bytes


def _wanted(
    system: Any, source: Source, listed: Mapping[str, Mapping[str, Any]], request: Request
) -> dict[str, RemoteFile]:
    wanted = wanted_files(listed, part=request.part, with_code=request.with_code)
    if not wanted:
        raise no_files(request, listed)
    sums = _sums(system, source, listed)
    return {
        path: RemoteFile(
            f"{source.name}/{path}",
            int(listed[path]["size"]),
            ("sha256", sums[path]) if path in sums else _checksum(system, listed[path]),
        )
        for path in wanted
    }


def _connect(kind: str) -> Any:
    try:
        # Cached listings would show outdated objects.
        return fsspec.filesystem(kind, use_listings_cache=False)
    except ImportError as error:
        raise ModelSourceError(
            f"source: {kind}:// needs a package that is not installed ({error}): pip install "
            f"'{_PACKAGES[kind]}'"
        ) from error


def _list(system: Any, prefix: str) -> dict[str, Mapping[str, Any]]:
    """Return the objects' entries by their paths below ``prefix``."""
    found = system.find(prefix, detail=True)
    below = prefix + "/"
    return {
        name.removeprefix(below): entry
        for name, entry in found.items()
        if name.startswith(below) and entry.get("type") == "file"
    }


def _stamp(listed: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a name for what a listing shows: another one if an object is another one."""
    lines = [
        f"{path}\0{entry['size']}\0{entry.get('ETag') or entry.get('etag') or ''}"
        f"\0{entry.get('generation') or ''}"
        for path, entry in sorted(listed.items())
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _sums(system: Any, source: Source, listed: Mapping[str, Any]) -> dict[str, str]:
    if SUMS_FILE not in listed:
        return {}
    if int(listed[SUMS_FILE]["size"]) > _MOST_SUMS_BYTES:
        raise ModelSourceError(f"source: {source.text}/{SUMS_FILE} has over {_MOST_SUMS_BYTES:,} B")
    text = bytes(system.cat_file(f"{source.name}/{SUMS_FILE}")).decode(errors="replace")
    found = [_SUM_LINE.fullmatch(line) for line in text.splitlines()]
    return {match["path"]: match["sum"] for match in found if match is not None}


def _checksum(system: Any, entry: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the checksum that a store keeps of an object, if it does.

    Google keeps an MD5, save of composite objects. S3's ETag is one where an object was uploaded
    in one part and is not encrypted by KMS.
    """
    if entry.get("md5Hash"):
        try:
            return "md5", base64.b64decode(entry["md5Hash"], validate=True).hex()
        except binascii.Error:
            return None
    etag = str(entry.get("ETag", "")).strip('"')
    if re.fullmatch(r"[0-9a-f]{32}", etag) is None or not hasattr(system, "call_s3"):
        return None
    bucket, _, key = str(entry["name"]).partition("/")
    head = system.call_s3("head_object", Bucket=bucket, Key=key)
    return None if head.get("ServerSideEncryption") in _NOT_MD5_SSE else ("md5", etag)
