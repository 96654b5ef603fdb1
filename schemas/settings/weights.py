"""The weights section of the settings file: where pulled weights lie."""

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, field_validator

from schemas.settings.section import Section

_KUBERNETES_NAME = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"
_NO_SPACES = r"^\S+$"


class EmptyDirVolume(Section):
    """The node's disk, for as long as the pod lives: each pod pulls for itself."""

    kind: Literal["empty_dir"] = Field(description="The node's disk, for each pod.")
    size_gib: int = Field(default=200, ge=1, description="The most that a pod may store.")

    @property
    def is_read_only(self) -> bool:
        return False


class ClaimVolume(Section):
    """A PersistentVolumeClaim that all pods share: one pulls, the others find it."""

    kind: Literal["claim"] = Field(description="A PersistentVolumeClaim.")
    name: str = Field(
        default="headrace-weights", pattern=_KUBERNETES_NAME, description="The claim's name."
    )
    size_gib: int | None = Field(
        default=None,
        ge=1,
        description="Set: the manifests have the claim, of this size. Unset: it exists already.",
    )
    storage_class: str | None = Field(
        default=None,
        pattern=_KUBERNETES_NAME,
        description="Of the claim in the manifests; the cluster's default where unset.",
    )
    access_mode: Literal["ReadWriteMany", "ReadWriteOnce", "ReadOnlyMany"] = Field(
        default="ReadWriteMany",
        description="ReadWriteOnce: pods of one node only. ReadOnlyMany: nothing is pulled.",
    )

    @property
    def is_read_only(self) -> bool:
        return self.access_mode == "ReadOnlyMany"


class HostPathVolume(Section):
    """A directory of each node, such as a local NVMe disk; it outlives the pods."""

    kind: Literal["host_path"] = Field(description="A directory of the node.")
    path: PurePosixPath = Field(description="An absolute path that user 1000 may write to.")
    read_only: bool = Field(default=False, description="Nothing is pulled; the weights are there.")

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: PurePosixPath) -> PurePosixPath:
        return _absolute(path)

    @property
    def is_read_only(self) -> bool:
        return self.read_only


class ImageVolume(Section):
    """A cache that `headrace models pull` has filled, in an image; Kubernetes 1.33 or newer."""

    kind: Literal["image"] = Field(description="An image that has the weights.")
    reference: str = Field(pattern=_NO_SPACES, description="REGISTRY/NAME:TAG or @DIGEST.")
    pull_policy: Literal["IfNotPresent", "Always", "Never"] = Field(
        default="IfNotPresent", description="When the node pulls the image."
    )

    @property
    def is_read_only(self) -> bool:
        return True


WeightsVolume = Annotated[
    EmptyDirVolume | ClaimVolume | HostPathVolume | ImageVolume, Field(discriminator="kind")
]


class WeightsSettings(Section):
    """Where weights are kept, and how much may come."""

    cache: Path | None = Field(
        default=None,
        description="The directory of pulled weights, on every node that runs models. Unset: "
        "$HEADRACE_CACHE, else ~/.cache/headrace; in rendered pods a volume of its own.",
    )
    max_model_gib: float = Field(
        default=1000.0, gt=0, description="A source with more than this is not fetched."
    )
    volume: WeightsVolume = Field(
        default=EmptyDirVolume(kind="empty_dir"),
        description="What the rendered pods have at cache.",
    )
    oci_as_volumes: bool = Field(
        default=False,
        description="In rendered pods, mount each oci: source as an image volume (Kubernetes 1.33 "
        "or newer) in place of pulling it.",
    )
    service_account: str | None = Field(
        default=None,
        pattern=_KUBERNETES_NAME,
        description="The worker pods' service account, where it carries the right to read a "
        "bucket; the namespace's default where unset.",
    )

    @field_validator("cache")
    @classmethod
    def _absolute_cache(cls, cache: Path | None) -> Path | None:
        return None if cache is None else Path(_absolute(PurePosixPath(cache)))


def _absolute(path: PurePosixPath) -> PurePosixPath:
    if not path.is_absolute() or ".." in path.parts or re.fullmatch(r"/+", str(path)):
        raise ValueError(f"'{path}' must be an absolute path below /, without ..")
    return path
