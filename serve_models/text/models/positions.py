"""The longest text that a checkpoint can read, and whether its device has room for it."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from serve_models.batching.memory import is_out_of_memory
from serve_models.chunks.failures import describe
from serve_models.text.models.base import ModelSettingsError, Rows
from serve_models.text.models.tokenizing import TokenizedText

_MOST_WORDS_ON_A_CPU = 1024
"""A CPU has enough memory for a long text, but takes minutes for thousands of tokens."""


def positions_of(model: torch.nn.Module) -> int | None:
    """Return how many positions a checkpoint has; ``None`` where it does not count them."""
    for module in model.modules():
        table = getattr(module, "position_embeddings", None)
        if isinstance(table, torch.nn.Embedding):
            return table.num_embeddings - _offset_of(table)
    config: Any = getattr(model, "config", None)
    positions = getattr(config, "max_position_embeddings", None)
    # XLNet has -1 for no limit.
    return int(positions) if positions is not None and positions > 0 else None


def position_offset_of(model: torch.nn.Module) -> int:
    """Return the position of a text's first token, as the model counts."""
    for module in model.modules():
        table = getattr(module, "position_embeddings", None)
        if isinstance(table, torch.nn.Embedding):
            return _offset_of(table)
    return 0


def _offset_of(table: torch.nn.Embedding) -> int:
    # RoBERTa and similar models count from behind the padding's index.
    return 0 if table.padding_idx is None else table.padding_idx + 1


def longest_text(max_tokens: int | None, device: str) -> str:
    """Return a harmless text that is at least as long as any that a replica will run."""
    words = max_tokens or 1
    return "a " * (min(words, _MOST_WORDS_ON_A_CPU) if device == "cpu" else words)


def check_runs(run: Callable[[Sequence[TokenizedText]], Rows], longest: TokenizedText) -> None:
    """Raise ``ModelSettingsError`` if the model cannot run this length on its device."""
    try:
        run([longest])
    except Exception as error:
        text = (
            f"max_seq_length_tokens: one text of {longest.tokens} tokens, as long as texts may be, "
        )
        if is_out_of_memory(error):
            raise ModelSettingsError(
                f"{text}does not fit into the device's memory ({describe(error)}); set "
                "max_seq_length_tokens lower, or see what else takes the memory"
            ) from error
        raise ModelSettingsError(
            f"{text}makes the model fail ({describe(error)}); set max_seq_length_tokens to what "
            "the checkpoint can read"
        ) from error
