"""Reads what a LoRA adapter's directory says of itself. Imports no vLLM: commands read it too."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
_MOST_CONFIG_BYTES = 1024 * 1024


class AdapterError(ValueError):
    """An adapter cannot be used; the message names the setting or file, and the fix."""


@dataclass(frozen=True, slots=True)
class AdapterCheckpoint:
    """An adapter in PEFT's format.

    Attributes:
        directory: Where its files are.
        rank: The largest rank of its modules.
        base_model: The model that it was trained for, as its author named it.
    """

    directory: Path
    rank: int
    base_model: str | None = None


def read_checkpoint(directory: Path) -> AdapterCheckpoint:
    """Read an adapter's directory; raises ``AdapterError`` for one that cannot be used.

    Its weights must be safetensors: vLLM would take pickled ones too.
    """
    if not (directory / WEIGHTS_FILE).is_file():
        raise AdapterError(
            f"{directory} has no {WEIGHTS_FILE}, and pickled adapters are not loaded because they "
            "can run code; save it with PEFT's save_pretrained(DIR), which writes safetensors"
        )
    config = _read_config(directory / CONFIG_FILE)
    ranks = [config.get("r"), *(config.get("rank_pattern") or {}).values()]
    if not all(isinstance(rank, int) and not isinstance(rank, bool) and rank > 0 for rank in ranks):
        raise AdapterError(f"{directory / CONFIG_FILE} has no rank 'r' that is a whole number")
    base = config.get("base_model_name_or_path")
    return AdapterCheckpoint(directory, max(ranks), base if isinstance(base, str) else None)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MOST_CONFIG_BYTES:
            raise AdapterError(f"{path} is over {_MOST_CONFIG_BYTES} bytes")
        config = orjson.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        if isinstance(error, AdapterError):
            raise
        raise AdapterError(f"{path} cannot be read: {error}") from error
    if not isinstance(config, dict) or not isinstance(config.get("rank_pattern") or {}, dict):
        raise AdapterError(f"{path} is not an adapter's configuration")
    return config
