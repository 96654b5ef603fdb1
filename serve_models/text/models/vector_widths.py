"""Reads the width of a checkpoint's vectors from its files alone."""

from pathlib import Path
from typing import Any

from serve_models.text.models.checkpoint_json import read_json, read_object

_WIDTH_NAMES = ("out_features", "embedding_dimension", "word_embedding_dimension", "hidden_size")
_POOLING_MODES = frozenset(
    f"pooling_mode_{mode}"
    for mode in (
        "cls_token",
        "max_tokens",
        "mean_tokens",
        "mean_sqrt_len_tokens",
        "weightedmean_tokens",
        "lasttoken",
    )
)
"""The keys of checkpoints that were saved before ``pooling_mode`` was one key."""


def read_vector_width(directory: Path) -> int | None:
    """Return the width that the last module with one states; ``None`` where none can be read."""
    modules = read_json(directory / "modules.json")
    paths = [str(module.get("path", "")) for module in modules] if isinstance(modules, list) else []
    for path in [*reversed(paths), ""]:
        width = _width_of(read_object(directory / path / "config.json"))
        if width is not None:
            return width
    return None


def _width_of(config: dict[str, Any]) -> int | None:
    width = next((config[name] for name in _WIDTH_NAMES if name in config), None)
    if not isinstance(width, int):
        return None
    mode = config.get("pooling_mode")
    modes = len(mode) if isinstance(mode, list) else 0
    modes += [is_on for name, is_on in config.items() if name in _POOLING_MODES].count(True)
    return width * max(1, modes)
