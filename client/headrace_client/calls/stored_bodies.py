"""Bodies of results that lie in an object store: read through fsspec, where that is installed."""

import asyncio
import hashlib
import re
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import orjson

from headrace_client.errors import BodyFetchError

_PLAIN_URL = re.compile(r"(file|s3|gs|az|abfs|abfss|memory)://[A-Za-z0-9._=+,@~!$&'()/ -]+")
"""No protocol that follows redirects, and none of the ways in which fsspec chains urls."""


async def fetch_body(reference: dict[str, Any]) -> dict[str, Any]:
    """Read and check a body; ``BodyFetchError`` says what is wrong, and what to install."""
    url = str(reference.get("url"))
    if not _PLAIN_URL.fullmatch(url):
        raise BodyFetchError(f"the result's body is at {url!r}, which is no plain place in a store")
    if find_spec("fsspec") is None:
        raise BodyFetchError(
            f"the result's body lies at {url}: `pip install fsspec` and what its protocol needs "
            "(s3fs for s3://), or read it from there yourself"
        )
    content = await asyncio.to_thread(_read, url)
    size_bytes, sha256 = reference.get("size_bytes"), reference.get("sha256")
    if size_bytes is not None and len(content) != size_bytes:
        raise BodyFetchError(
            f"the body at {url} has {len(content):,} bytes, not the {size_bytes:,} of its reference"
        )
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise BodyFetchError(f"the body at {url} has another checksum than its reference")
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise BodyFetchError(f"the body at {url} is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise BodyFetchError(f"the body at {url} is not a JSON object")
    return body


def _read(url: str) -> bytes:
    fsspec = import_module("fsspec")
    try:
        with fsspec.open(url, "rb") as file:
            return bytes(file.read())
    except (OSError, ImportError, ValueError) as error:
        raise BodyFetchError(f"the result's body at {url} cannot be read: {error!r}") from error
