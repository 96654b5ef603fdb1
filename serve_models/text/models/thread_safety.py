"""Whether a model may run in several threads at a time."""

from typing import Any

import torch


def runs_in_parallel(model: torch.nn.Module) -> bool:
    """Whether several threads may run forwards of a model at a time.

    They may not if a rotary embedding scales dynamically or by LongRoPE: each forward then writes
    the module's frequencies, by the batch's longest text, and the forward of another batch would
    read them (``modeling_rope_utils.dynamic_rope_update`` of Transformers).
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
