"""Which files of a repository are a checkpoint. Pure."""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from schemas.settings.sources import Part

_CHECKPOINT_FILES = (
    *("*.json", "*.txt", "*.jinja", "*.vocab", "*.bpe"),
    *("*.model", "tokenizer.model.*", "*.tiktoken", "*.spm"),
)
"""Configurations, tokenizers and chat templates. No pickles: they can run code."""
_WEIGHTS = "*.safetensors"
_CODE = "*.py"
_OTHER_FORMATS = frozenset({"onnx", "openvino", "coreml", "original", "metal", "gguf", "flax"})
"""Folders in which repositories keep the same weights for other programs."""
_OF_TRAINING = re.compile(r"checkpoint-\d+")
_ORIGINAL_SHARD = re.compile(r"consolidated[.\w-]*\.safetensors")
_VARIANT = re.compile(r"(?P<name>[^.]+)\.[a-z0-9_-]+(?P<rest>(-\d+-of-\d+)?\.safetensors)")


def wanted_files(
    paths: Iterable[str], *, part: Part = "weights", with_code: bool = False
) -> list[str]:
    """Return the paths to fetch, in order; each weight in one format only.

    ``with_code`` adds Python files. Paths use slashes, and are relative to the repository.
    """
    patterns = (*_CHECKPOINT_FILES, *([_WEIGHTS] if part == "weights" else []))
    if with_code:
        patterns = (*patterns, _CODE)
    found = [
        path
        for path in sorted(paths)
        if not _is_elsewhere(PurePosixPath(path))
        and any(fnmatchcase(PurePosixPath(path).name, pattern) for pattern in patterns)
    ]
    duplicates = _duplicate_weights(found)
    return [path for path in found if path not in duplicates]


def _is_elsewhere(path: PurePosixPath) -> bool:
    folders = path.parts[:-1]
    return path.name.startswith(".") or any(
        folder.startswith(".") or folder in _OTHER_FORMATS or _OF_TRAINING.fullmatch(folder)
        for folder in folders
    )


def _duplicate_weights(paths: list[str]) -> set[str]:
    """Return weights that stand beside the same weights: Mistral's own format, and precisions."""
    weights = [PurePosixPath(path) for path in paths if path.endswith(".safetensors")]
    found = set()
    for path in weights:
        beside = {other.name for other in weights if other.parent == path.parent}
        if _ORIGINAL_SHARD.fullmatch(path.name):
            if any(not _ORIGINAL_SHARD.fullmatch(name) for name in beside):
                found.add(str(path))
            continue
        variant = _VARIANT.fullmatch(path.name)
        if variant is not None and variant["name"] + variant["rest"] in beside:
            found.add(str(path))
    return found
