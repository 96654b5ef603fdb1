"""Whether a checkpoint's files are all there, and whole."""

import json
import re
import struct
from pathlib import Path

from schemas.settings.sources import Part
from serve_models.weights.references import ModelSourceError

PICKLED_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt")
_INDEX = ".safetensors.index.json"
_LENGTH_BYTES = 8
_MOST_HEADER_BYTES = 100_000_000
"""The format's own limit."""
_TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "tekken.json", "vocab.json", "vocab.txt"),
    *("*.tiktoken", "*.model", "tokenizer.model.*"),
)
_SHARD = re.compile(r"(?P<stem>.+)-\d+-of-(?P<shards>\d+)\.safetensors")
_SHOWN = 3


def check_part(directory: Path, part: Part) -> None:
    """Raise ``ModelSourceError``, which says what to do, if ``directory`` lacks what is needed."""
    if part == "weights":
        check_safetensors(directory)
    elif part == "tokenizer":
        if not any(next(directory.glob(pattern), None) for pattern in _TOKENIZER_FILES):
            raise ModelSourceError(f"source: {directory} has no tokenizer's files")
    elif not (directory / "config.json").is_file():
        raise ModelSourceError(f"source: {directory} has no config.json")


def check_safetensors(directory: Path) -> None:
    """Raise ``ModelSourceError`` if weights are missing, cut off, or only pickled.

    Each file is held to the length that its header gives, and to the shards that an index file
    names. That notices what an interrupted copy leaves, and reads a few kilobytes a file.
    """
    found = False
    for module in module_directories(directory):
        files = [file for file in module.iterdir() if file.is_file()] if module.is_dir() else []
        weights = [file for file in files if file.name.endswith(".safetensors")]
        _check_index(files)
        _check_shards(module, {file.name for file in weights})
        if weights:
            found = True
            for file in weights:
                check_length(file)
            continue
        pickled = sorted(file.name for file in files if file.name.endswith(PICKLED_WEIGHTS))
        if pickled:
            raise ModelSourceError(
                f"source: {module} has {', '.join(pickled)} but no safetensors, and pickles are "
                "not loaded because they can run code; convert it with "
                "SentenceTransformer(...).save_pretrained(DIR, safe_serialization=True)"
            )
    if not found:
        raise ModelSourceError(f"source: {directory} holds no *.safetensors file")


def check_length(file: Path) -> None:
    """Raise ``ModelSourceError`` if a safetensors file is not as long as its header says."""
    size_bytes = file.stat().st_size
    try:
        with file.open("rb") as opened:
            (header_bytes,) = struct.unpack("<Q", opened.read(_LENGTH_BYTES))
            # A length that is none must not fill the memory; what is too short is no JSON.
            header = json.loads(opened.read(min(header_bytes, _MOST_HEADER_BYTES)))
        ends = [
            int(entry["data_offsets"][1])
            for name, entry in header.items()
            if name != "__metadata__"
        ]
    except (OSError, struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelSourceError(
            f"source: {file} is damaged, or no safetensors file ({error}); fetch it again with "
            "`headrace models pull --force`"
        ) from None
    wanted_bytes = _LENGTH_BYTES + header_bytes + max(ends, default=0)
    if size_bytes != wanted_bytes:
        raise ModelSourceError(
            f"source: {file} has {size_bytes:,} of {wanted_bytes:,} bytes; fetch it again with "
            "`headrace models pull --force`"
        )


def _check_index(files: list[Path]) -> None:
    names = {file.name for file in files}
    for index in files:
        if not index.name.endswith(_INDEX):
            continue
        try:
            shards = set(json.loads(index.read_bytes())["weight_map"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelSourceError(f"source: {index} cannot be read: {error}") from None
        missing = sorted(map(str, shards - names))
        if missing and index.name.removesuffix(_INDEX) + ".safetensors" not in names:
            raise ModelSourceError(
                f"source: {index.parent} misses {len(missing)} of {len(shards)} shards that "
                f"{index.name} names ({', '.join(missing[:_SHOWN])}"
                f"{', …' if len(missing) > _SHOWN else ''}); fetch it with `headrace models pull`"
            )


def _check_shards(directory: Path, names: set[str]) -> None:
    """Hold shards to the number in their names: an interrupted pull may lack the index too."""
    for name in sorted(names):
        shard = _SHARD.fullmatch(name)
        if shard is None:
            continue
        digits = len(shard["shards"])
        wanted = {
            f"{shard['stem']}-{number:0{digits}}-of-{shard['shards']}.safetensors"
            for number in range(1, int(shard["shards"]) + 1)
        }
        if missing := wanted - names:
            raise ModelSourceError(
                f"source: {directory} misses {len(missing)} of {len(wanted)} shards "
                f"({', '.join(sorted(missing)[:_SHOWN])}); fetch it with `headrace models pull`"
            )


def module_directories(directory: Path) -> list[Path]:
    """Return the directories of a Sentence Transformers model's modules, its own first."""
    modules_file = directory / "modules.json"
    if not modules_file.is_file():
        return [directory]
    try:
        modules = json.loads(modules_file.read_text(encoding="utf-8"))
        paths = {str(module.get("path", "")) for module in modules}
    except (ValueError, AttributeError, TypeError) as error:
        raise ModelSourceError(f"source: {modules_file} cannot be read: {error}") from None
    return [directory, *(directory / path for path in sorted(paths) if path)]
