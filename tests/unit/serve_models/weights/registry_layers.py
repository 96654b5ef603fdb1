"""Manifests and layers of registries, as `oras push`, model packs and image builders make them."""

import gzip
import hashlib
import io
import tarfile
from typing import Any

TITLE = "org.opencontainers.image.title"
FILE_LAYER = "application/vnd.oci.image.layer.v1.tar"
IMAGE_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Repository:
    """Blobs by digest, and the manifest that names some of them as layers."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.layers: list[dict[str, Any]] = []

    def add(
        self, content: bytes, media_type: str, annotations: dict[str, str] | None = None
    ) -> None:
        digest = digest_of(content)
        self.blobs[digest] = content
        layer: dict[str, Any] = {
            "mediaType": media_type,
            "digest": digest,
            "size": len(content),
        }
        if annotations:
            layer["annotations"] = annotations
        self.layers.append(layer)

    def add_files(self, files: dict[str, bytes], annotation: str = TITLE) -> None:
        for path, content in files.items():
            kind = FILE_LAYER if annotation == TITLE else "application/vnd.cncf.model.weight.v1.raw"
            self.add(content, kind, {annotation: path})

    def add_image(
        self, *members: tuple[str, bytes | None], links: dict[str, str] | None = None
    ) -> None:
        """Add a layer of an image; a member without content is a directory."""
        self.add(gzip.compress(archive(*members, links=links), mtime=0), IMAGE_LAYER)

    @property
    def manifest(self) -> dict[str, Any]:
        return {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.empty.v1+json",
                "digest": digest_of(b"{}"),
                "size": 2,
            },
            "layers": self.layers,
        }


def archive(*members: tuple[str, bytes | None], links: dict[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as opened:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type = tarfile.DIRTYPE
                info.mode = 0o755
            else:
                info.size = len(content)
            opened.addfile(info, None if content is None else io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            opened.addfile(info)
    return buffer.getvalue()
