"""Optional packages of the backends."""

import importlib
import platform
import sys
from collections.abc import Iterable
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from serve_models.text.models.base import ModelSettingsError

_TELEMETRY = "openvino_telemetry"
"""Would send usage statistics to Google for OpenVINO and NNCF, without being asked."""


def is_installed(package: str) -> bool:
    return find_spec(package) is not None


def import_extra(package: str, extra: str) -> Any:
    """Import a package; ``ModelSettingsError`` names the extra that has it."""
    # Both packages do without it where it cannot be imported.
    sys.modules.setdefault(_TELEMETRY, None)  # type: ignore[arg-type] # None stands for that
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ModelSettingsError(
            f"backend: {extra} needs the package {package}, which cannot be imported here "
            f"({error}); install headrace[{extra}]"
        ) from error


def versions_of(backend: str, packages: Iterable[str]) -> str:
    """Name what converts, with versions; ``ModelSettingsError`` if some is not installed."""
    named = []
    for package in (*packages, "torch", "transformers"):
        try:
            named.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            raise ModelSettingsError(
                f"backend: {backend} needs the package {package}, which is not installed; install "
                f"headrace[{backend}]"
            ) from None
    return "; ".join([backend, platform.machine(), *named])
