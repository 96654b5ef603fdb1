"""Which number formats a CPU is quick in."""

from collections.abc import Mapping

import torch
from pydantic import JsonValue


def is_quick_in_bfloat16() -> bool:
    """Say whether PyTorch multiplies in bfloat16 on this CPU without emulating it.

    oneDNN tells, which computes for it. On x86 it takes AVX-512; on two cores with no more than
    AVX2 a generation in bfloat16 ran at a twentieth of its rate in float32.
    """
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 -- nothing public tells


def with_quick_dtype(
    engine_args: Mapping[str, JsonValue], *, is_quick_in_bfloat16: bool
) -> dict[str, JsonValue]:
    """Return vLLM's arguments on a CPU, with float32 where the checkpoint's format may be slow.

    Args:
        engine_args: As the settings have them; a ``dtype`` that is asked for stays.
        is_quick_in_bfloat16: Of the CPU; most checkpoints are in bfloat16.
    """
    if is_quick_in_bfloat16 or engine_args.get("dtype", "auto") != "auto":
        return dict(engine_args)
    return {**engine_args, "dtype": "float32"}
