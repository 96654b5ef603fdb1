"""Sources, taken apart: what a ``source`` setting names."""

import hashlib
import re
from typing import Literal, NamedTuple

from schemas.settings.sources import SOURCE_PATTERN

Kind = Literal["path", "wheel", "hub", "s3", "gs", "oci"]


class ModelSourceError(ValueError):
    """The weights are not where the settings say; the message says what to do."""


class Source(NamedTuple):
    """A parsed ``source`` setting.

    Attributes:
        kind: The word before the colon.
        name: The directory, the distribution, the hub's ``ORG/NAME``, ``BUCKET/PREFIX``, or
            ``REGISTRY/NAME``.
        revision: The hub's branch, tag or commit, or an image's tag or digest, if the setting
            names one.
    """

    kind: Kind
    name: str
    revision: str | None = None

    @property
    def text(self) -> str:
        """The setting, written in one way only."""
        match self.kind:
            case "s3" | "gs":
                return f"{self.kind}://{self.name}"
            case "oci" if self.revision and not self.revision.startswith("sha256:"):
                return f"oci:{self.name}:{self.revision}"
            case _:
                return f"{self.kind}:{self.name}" + (f"@{self.revision}" if self.revision else "")

    @property
    def folder_name(self) -> str:
        """A name for a directory: readable, and another one for each source."""
        words = re.sub(r"[^A-Za-z0-9._-]+", "-", self.name).strip("-.")[-80:]
        return f"{words}-{hashlib.sha256(self.text.encode()).hexdigest()[:10]}"

    @property
    def lock_name(self) -> str:
        """Names what one process at a time may change in the cache.

        The revisions of a hub's repository share files, and the hub's library names its folder.
        """
        if self.kind == "hub":
            return f"models--{self.name.replace('/', '--')}"
        return self.folder_name


def parse_source(source: str) -> Source:
    """Take a source apart; raises ``ModelSourceError``."""
    if re.match(SOURCE_PATTERN, source) is None:
        raise ModelSourceError(
            f"source: '{source}' must be path:/DIR, hub:ORG/NAME[@REVISION], wheel:DISTRIBUTION, "
            "s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or oci:REGISTRY/NAME[:TAG][@DIGEST]"
        )
    kind, _, name = source.partition(":")
    match kind:
        case "hub":
            name, _, revision = name.partition("@")
            return Source("hub", name, revision or None)
        case "s3" | "gs":
            bucket, _, prefix = name.removeprefix("//").strip("/").partition("/")
            if not bucket or not prefix or {"", ".", ".."} & set(prefix.split("/")):
                raise ModelSourceError(f"source: '{source}' must be {kind}://BUCKET/PREFIX")
            return Source("s3" if kind == "s3" else "gs", f"{bucket}/{prefix}")
        case "oci":
            return _image(name)
        case "wheel":
            return Source("wheel", name)
        case _:
            return Source("path", name)


def _image(name: str) -> Source:
    name, _, digest = name.removeprefix("//").partition("@")
    # A colon before the last slash parts a registry from its port.
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        repository, tag = name, ""
    if digest and re.fullmatch(r"sha256:[0-9a-f]{64}", digest) is None:
        raise ModelSourceError(f"source: 'oci:{name}@{digest}': a digest is sha256: and 64 digits")
    first = repository.partition("/")[0]
    if "/" not in repository or not ("." in first or ":" in first or first == "localhost"):
        raise ModelSourceError(
            f"source: 'oci:{name}' must name its registry: oci:REGISTRY/NAME[:TAG][@DIGEST], with "
            "docker.io for Docker Hub"
        )
    return Source("oci", repository, digest or tag or None)
