"""The device that a model runs on, and the CPU threads that a batch gets."""

import gc
import os
from collections.abc import MutableMapping

import torch

_OUT_OF_MEMORY_WORDS = ("out of memory", "can't allocate memory", "_ALLOC_FAILED")
"""In messages of errors that have no type of their own: Metal's, the CPU allocator's, cuBLAS'."""


def choose_device(device: str) -> str:
    """Return torch's name of the device that the settings name; ``auto`` is the best one here."""
    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def use_threads(threads: int) -> None:
    """Let what the calling thread runs use ``threads`` CPU threads; other threads keep theirs."""
    # torch sets up each thread at its first operation, with the number last set by any thread;
    # asking for the number is enough of an operation, and must come before ours is set.
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def bound_tokenizer_threads(
    threads: int, environment: MutableMapping[str, str] = os.environ
) -> None:
    """Let tokenizers written in Rust use ``threads`` threads; call it before the first of them.

    They take one for each of the machine's CPUs otherwise, in each replica.
    """
    environment.setdefault("RAYON_NUM_THREADS", str(threads))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device has no memory left, which fewer texts may fit into."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(word in text for word in _OUT_OF_MEMORY_WORDS)


def release_memory() -> None:
    """Give back what torch keeps of a forward that failed; call it outside ``except``."""
    # Frames that hold each other hold their tensors too.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
