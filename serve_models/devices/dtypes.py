"""Which number format a text model computes in.

TF32 stays off: ``float32`` means float32 on a GPU too, and who can do with less takes bfloat16,
which is as fast as TF32 or faster wherever there is TF32.
"""

from collections.abc import Mapping
from typing import Any

import torch

_CPU_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "sve_bf16")
"""Each multiplies bfloat16. With plain AVX-512 oneDNN converts to float32 and back."""


def torch_dtype(dtype: str, device: str) -> torch.dtype:
    """Return the settings' ``dtype`` on a device, torch's name of it; ``auto`` is the quick one."""
    name = quick_dtype(device) if dtype == "auto" else dtype
    chosen: torch.dtype = getattr(torch, name)
    return chosen


def dtype_in_words(dtype: str, device: str) -> str:
    """Return the format that ``torch_dtype`` gives, for people."""
    return str(torch_dtype(dtype, device)).removeprefix("torch.")


def quick_dtype(device: str) -> str:
    """Return ``bfloat16`` if a device computes quickly in it, else ``float32``."""
    match torch.device(device).type:
        case "cuda":
            # NVIDIA's from Ampere on.
            is_quick = torch.cuda.is_bf16_supported(including_emulation=False)
        case "cpu":
            is_quick = is_quick_cpu(torch.cpu.get_capabilities())
        case _:
            is_quick = False
    return "bfloat16" if is_quick else "float32"


def is_quick_cpu(capabilities: Mapping[str, Any]) -> bool:
    """Whether a CPU multiplies bfloat16; ``capabilities`` are named as by torch."""
    return any(capabilities.get(name) for name in _CPU_INSTRUCTIONS)
