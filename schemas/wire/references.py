"""References to bodies that lie in an object store: how they look, and which may be followed."""

import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_URL_CHARACTERS = 2_048
STORE_SCHEMES = ("file", "s3", "gs", "az", "abfs", "abfss", "memory")
"""What reads and writes whole objects and follows no redirects, which could lead anywhere."""

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.DOTALL)
_SEGMENT = re.compile(r"[A-Za-z0-9._=+,@ ~!$&'()-]+")
"""Neither ``%`` nor ``\\`` nor ``:``: nothing that a store, or fsspec, reads in another way than it
looks (escapes, chained urls, patterns, queries)."""

Url = Annotated[str, Field(min_length=1, max_length=MAX_URL_CHARACTERS)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class IllegalUrlError(ValueError):
    """A url is not one plain path in an object store; says why."""


class BodyReference(BaseModel):
    """Where a body lies that is too large for a topic, and what must be found there."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    url: Url = Field(
        description="The object, e.g. s3://bucket/chat/requests-0-41-9f86d081884c7d65.json."
    )
    size_bytes: int = Field(ge=1, description="The object's size.")
    sha256: Sha256 = Field(description="The object's SHA-256, in hexadecimal.")


class RequestBodyReference(BaseModel):
    """A reference as producers write it: what they leave out is not checked."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    url: Url = Field(description="The object, under one of the route's request_prefixes.")
    size_bytes: int | None = Field(default=None, ge=1, description="The object's size.")
    sha256: Sha256 | None = Field(default=None, description="The object's SHA-256, in hexadecimal.")


def check_url(url: str) -> str:
    """Return a plain path in an object store; ``IllegalUrlError`` does not repeat the url."""
    if len(url) > MAX_URL_CHARACTERS:
        raise IllegalUrlError(f"a url may have {MAX_URL_CHARACTERS:,} characters")
    match = _SCHEME.fullmatch(url)
    if match is None:
        raise IllegalUrlError("a url begins with a scheme and ://, as s3://bucket/key does")
    scheme, path = match.groups()
    if scheme not in STORE_SCHEMES:
        raise IllegalUrlError(f"the scheme must be one of {', '.join(STORE_SCHEMES)}")
    if scheme == "file":
        if not path.startswith("/"):
            raise IllegalUrlError("a file's url is file:/// and a path")
        path = path[1:]
    for segment in path.split("/"):
        if segment in {"", ".", ".."}:
            raise IllegalUrlError("a url has no empty parts, and no parts . or ..")
        if not _SEGMENT.fullmatch(segment):
            raise IllegalUrlError(
                "a url consists of ASCII letters, digits and . _ = + , @ ~ ! $ & ' ( ) - only, "
                "without escapes"
            )
    return url


def check_prefix(url: str) -> str:
    """Return ``url`` without the slash at its end; ``IllegalUrlError`` if it is no plain path."""
    return check_url(url.removesuffix("/"))


def prefix_of(url: str, prefixes: Iterable[str]) -> str | None:
    """Return the first of ``prefixes`` that ``url`` lies under, by whole parts of the path."""
    return next((prefix for prefix in prefixes if url.startswith(prefix + "/")), None)
