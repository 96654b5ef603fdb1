"""Attention over texts that lie one behind the other, without padding between them.

Transformers calls it in place of its own attention once it is registered and chosen. On a GPU it is
PyTorch's own flash attention for sequences of any length (``torch.nn.attention.varlen``), so no
other package is needed; elsewhere each text is computed by itself.
"""

from itertools import pairwise
from typing import Any

import torch
from sentence_transformers.base.modules import Transformer
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

NAME = "headrace_varlen"
FORWARD_KEYS = frozenset({"cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k"})
"""What the forward passes of models hand on to their attention."""


class VarlenSwitch:
    """Puts this attention into a transformer, and the one before back."""

    def __init__(self, transformer: Transformer) -> None:
        self._transformer = transformer
        self._before = str(transformer.auto_model.config._attn_implementation)  # noqa: SLF001

    def turn_on(self) -> None:
        AttentionInterface.register(NAME, varlen_attention)
        self._transformer.auto_model.set_attn_implementation(NAME)
        if self._transformer.model_forward_params is not None:
            self._transformer.model_forward_params |= FORWARD_KEYS

    def turn_off(self) -> None:
        self._transformer.auto_model.set_attn_implementation(self._before)


def varlen_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    **_options: Any,
) -> tuple[torch.Tensor, None]:
    """Compute the attention within each text.

    Args:
        module: The attention layer.
        query: [1, heads, tokens, width], of all texts.
        key: The same, of as many heads or of fewer that are shared.
        value: As ``key``.
        scaling: Of the scores; by the width where ``None``.
        is_causal: Whether a token sees only those before it; the layer's where ``None``.
        sliding_window: How far a token sees, itself included; all of its text where ``None``.
        cu_seq_lens_q: Where each text begins, and the end of the last, int32 [texts + 1].
        max_length_q: The longest text's tokens.

    Returns:
        [1, tokens, heads, width], and no weights.

    Raises:
        ValueError: The texts are not packed.
    """
    if cu_seq_lens_q is None or max_length_q is None:
        raise ValueError(f"{NAME} computes packed texts only: cu_seq_lens_q says where they begin")
    causal = getattr(module, "is_causal", False) if is_causal is None else is_causal
    behind = -1 if sliding_window is None else sliding_window - 1
    window = (behind, 0 if causal else behind)
    # Each is then of shape (tokens, heads, width).
    q, k, v = (each.squeeze(0).transpose(0, 1) for each in (query, key, value))
    compute = _flash if query.is_cuda else _text_by_text
    return compute(q, k, v, cu_seq_lens_q, max_length_q, scaling, window).unsqueeze(0), None


def _flash(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    starts: torch.Tensor,
    longest: int,
    scaling: float | None,
    window: tuple[int, int],
) -> torch.Tensor:
    output = varlen_attn(
        q,
        k,
        v,
        starts,
        starts,
        longest,
        longest,
        scale=scaling,
        window_size=window,
        enable_gqa=q.shape[1] != k.shape[1],
    )
    return output if isinstance(output, torch.Tensor) else output[0]


def _text_by_text(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    starts: torch.Tensor,
    _longest: int,
    scaling: float | None,
    window: tuple[int, int],
) -> torch.Tensor:
    output = torch.empty_like(q)
    bounds = starts.tolist()
    for start, stop in pairwise(bounds):
        if stop == start:
            continue
        part = scaled_dot_product_attention(
            q[start:stop].transpose(0, 1),
            k[start:stop].transpose(0, 1),
            v[start:stop].transpose(0, 1),
            attn_mask=_window_mask(stop - start, window, q.device),
            scale=scaling,
            enable_gqa=q.shape[1] != k.shape[1],
        )
        output[start:stop] = part.transpose(0, 1)
    return output


def _window_mask(tokens: int, window: tuple[int, int], device: torch.device) -> torch.Tensor | None:
    """Return which tokens each token sees, bool [tokens, tokens]; ``None`` for all."""
    behind, ahead = window
    if behind < 0 and ahead < 0:
        return None
    places = torch.arange(tokens, device=device)
    distance = places[None, :] - places[:, None]
    sees = torch.ones_like(distance, dtype=torch.bool)
    if ahead >= 0:
        sees &= distance <= ahead
    if behind >= 0:
        sees &= distance >= -behind
    return sees
