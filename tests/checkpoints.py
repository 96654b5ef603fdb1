"""Small checkpoints with real safetensors headers, and weights of a size that a test chooses."""

import hashlib
import json
import struct
from pathlib import Path


def safetensors(count_bytes: int = 8, seed: int = 0) -> bytes:
    """Return a legal file with one tensor of so many bytes."""
    header = json.dumps(
        {"w": {"dtype": "U8", "shape": [count_bytes], "data_offsets": [0, count_bytes]}}
    ).encode()
    block = hashlib.sha256(str(seed).encode()).digest()
    data = (block * (count_bytes // len(block) + 1))[:count_bytes]
    return struct.pack("<Q", len(header)) + header + data


def sharded(shards: int = 3, count_bytes: int = 1000) -> dict[str, bytes]:
    """Return a checkpoint's files by path: shards, their index, configuration and tokenizer."""
    names = [f"model-{number:05}-of-{shards:05}.safetensors" for number in range(1, shards + 1)]
    index = {"weight_map": {f"w{number}": name for number, name in enumerate(names)}}
    return {
        **{name: safetensors(count_bytes, seed) for seed, name in enumerate(names)},
        "model.safetensors.index.json": json.dumps(index).encode(),
        "config.json": b"{}",
        "tokenizer.json": b'{"version": "1.0"}',
    }


def write_files(directory: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content)
    return directory


def read_files(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
