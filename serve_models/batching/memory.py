"""Devices that run out of memory. Uses torch where it is loaded, and never loads it."""

import gc
import sys
from typing import Any

from serve_models.chunks.failures import describe

_WORDS = ("out of memory", "can't allocate memory", "_ALLOC_FAILED")
"""In messages of errors that have no type of their own: Metal's, the CPU allocator's, cuBLAS'."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device has no memory left; fewer texts may then fit."""
    if isinstance(error, MemoryError):
        return True
    text = describe(error)
    return isinstance(error, RuntimeError) and (
        # torch's own is a RuntimeError.
        type(error).__name__ == "OutOfMemoryError" or any(word in text for word in _WORDS)
    )


def release_memory() -> None:
    """Free what torch keeps of a failed forward; call it outside ``except``."""
    # Frames in a reference cycle keep their tensors too.
    gc.collect()
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
