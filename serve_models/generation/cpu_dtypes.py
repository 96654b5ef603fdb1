"""Which number formats are fast on a CPU."""

from collections.abc import Mapping

import torch
from pydantic import JsonValue


def is_quick_in_bfloat16() -> bool:
    """Whether PyTorch multiplies in bfloat16 on this CPU without emulating it.

    oneDNN, which computes for PyTorch, decides this. On x86 it needs AVX-512: on two cores with
    only AVX2, generation in bfloat16 ran at a twentieth of its rate in float32.
    """
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 -- nothing public tells


def with_quick_dtype(
    engine_args: Mapping[str, JsonValue], *, is_quick_in_bfloat16: bool
) -> dict[str, JsonValue]:
    """Return vLLM's arguments on a CPU, with float32 where the checkpoint's format may be slow.

    Most checkpoints are in bfloat16. A ``dtype`` in the settings stays.
    """
    if is_quick_in_bfloat16 or engine_args.get("dtype", "auto") != "auto":
        return dict(engine_args)
    return {**engine_args, "dtype": "float32"}
