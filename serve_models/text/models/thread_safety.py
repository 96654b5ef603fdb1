"""Rotary position embeddings, as far as they say how a model may be run."""

from typing import Any

import torch


def runs_in_parallel(model: torch.nn.Module) -> bool:
    """Return whether forwards of a model may run side by side, in several threads.

    They may not where a rotary embedding scales dynamically or by LongRoPE: Transformers
    (``modeling_rope_utils.dynamic_rope_update``) then writes the module's frequencies in each
    forward, by the batch's longest text, and another batch's forward would read them.
    """
    return not any(
        _rewrites_frequencies(getattr(module, "rope_type", None)) for module in model.modules()
    )


def _rewrites_frequencies(rope_type: Any) -> bool:
    # Some models have one for each kind of layer.
    rope_types = rope_type.values() if isinstance(rope_type, dict) else [rope_type]
    return any(
        isinstance(name, str) and ("dynamic" in name or name == "longrope") for name in rope_types
    )
